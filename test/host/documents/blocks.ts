// Programs and commands of a page, for documents.test.ts. A `js` or `ts` block whose first line is a comment with a file's
// name is that file. A `console` block is a session: each line behind `$ ` is run, what follows is what it prints; `…`
// stands for what differs from run to run, on a line of its own for any number of lines.

/** A file that a page shows. */
export interface ShownFile {
  name: string
  text: string
}

/** A command of a session, and the lines that the page shows below it. */
export interface ShownCommand {
  /** Where it stands: the page's line. */
  line: number
  command: string
  output: string[]
}

interface Fence {
  line: number
  language: string
  lines: string[]
}

/** The fenced blocks of a page. */
function fences(page: string): Fence[] {
  const found: Fence[] = []
  let open: Fence | undefined
  for (const [i, text] of page.split('\n').entries()) {
    const fence = /^```(\S*)\s*$/.exec(text)
    if (fence === null) open?.lines.push(text)
    else if (open !== undefined) {
      found.push(open)
      open = undefined
    } else open = { line: i + 1, language: fence[1]!, lines: [] }
  }
  if (open !== undefined) throw new Error(`the block of line ${open.line} is not closed`)
  return found
}

/** Files and commands of a page, each in the page's order. */
export function shownBy(page: string): { files: ShownFile[]; commands: ShownCommand[] } {
  const files: ShownFile[] = []
  const commands: ShownCommand[] = []
  for (const { line, language, lines } of fences(page)) {
    const name = /^\/\/ ([\w./-]+\.(?:mjs|ts))$/.exec(lines[0] ?? '')?.[1]
    if (['js', 'ts'].includes(language) && name !== undefined) {
      files.push({ name, text: `${lines.slice(1).join('\n')}\n` })
    }
    if (language !== 'console') continue
    for (const [i, text] of lines.entries()) {
      if (text.startsWith('$ ')) {
        commands.push({ line: line + 1 + i, command: text.slice(2), output: [] })
      } else {
        const last = commands.at(-1)
        if (i === 0 || last === undefined) throw new Error(`line ${line}: a session begins with $`)
        last.output.push(text)
      }
    }
  }
  return { files, commands }
}

/** Is `printed` the line `shown`? Fractions may differ by a tenth: other processors round otherwise. */
function lineFits(shown: string, printed: string): boolean {
  const fractions: number[] = []
  const pattern = shown
    .trimEnd()
    .split(/(…|\d[\d,]*\.\d+)/)
    .map((part, i) => {
      if (i % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
      if (part === '…') return '.*'
      fractions.push(numberOf(part))
      return '(\\d[\\d,]*\\.\\d+)'
    })
  const found = new RegExp(`^${pattern.join('')}$`).exec(printed.trimEnd())
  return (
    found !== null &&
    fractions.every((wanted, i) => {
      const got = numberOf(found[i + 1]!)
      return Math.abs(wanted - got) <= 0.1 * Math.max(wanted, got)
    })
  )
}

const numberOf = (text: string) => Number(text.replaceAll(',', ''))

/** Does a program's output look as the page shows it? */
export function fits(shown: readonly string[], printed: readonly string[]): boolean {
  const [first, ...rest] = shown
  if (first === undefined) return printed.length === 0
  if (first === '…') {
    return printed.some((_, i) => fits(rest, printed.slice(i))) || fits(rest, [])
  }
  return printed.length > 0 && lineFits(first, printed[0]!) && fits(rest, printed.slice(1))
}
