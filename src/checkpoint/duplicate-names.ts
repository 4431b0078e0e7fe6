// Names that stand twice in one object of a JSON text: JSON.parse keeps the last and says nothing. Readers of
// files that others wrote (safetensors headers, manifests) refuse them. Pure.

/** The first name that an object of `text` has twice; undefined when there is none. `text` must be valid JSON. */
export function duplicateName(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '{':
        open.push(new Set())
        break
      case '[':
        open.push(undefined)
        break
      case '}':
      case ']':
        open.pop()
        break
      case '"': {
        const end = stringEnd(text, at)
        const names = open.at(-1)
        if (names !== undefined && isName(text, end)) {
          const name = JSON.parse(text.slice(at, end)) as string
          if (names.has(name)) return name
          names.add(name)
        }
        at = end - 1
      }
    }
  }
  return undefined
}

/** Where the string that begins at `start` has ended, behind its quote. */
function stringEnd(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let slashes = 0
    while (text[quote - 1 - slashes] === '\\') slashes++
    if (slashes % 2 === 0) return quote + 1
  }
  return text.length
}

/** Does a colon follow? */
function isName(text: string, from: number): boolean {
  let at = from
  while (/\s/.test(text[at] ?? '')) at++
  return text[at] === ':'
}
