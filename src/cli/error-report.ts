// What the command line says of an error: one line, and for each place in the user's own files a line below
// it, of the error and of whatever it names as its cause. main.ts prints it.
import { isAbsolute, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WeftError } from '../native/errors.js'
import { packageRoot } from '../native/load.js'

/** So many causes of causes are told. */
const CAUSES = 5

/** Folders whose frames are weft's, not the user's; compiled code may be mapped to its source. */
const ownFolders = [`${packageRoot}dist/`, `${packageRoot}src/`]

/** The lines for `error`. `stacks`: whole stacks instead of places. */
export function errorLines(error: unknown, stacks = false): string[] {
  const lines = [`weft: ${headline(error)}`]
  let told = lines[0]!
  for (let at = error, depth = 0; at !== undefined && depth <= CAUSES; depth++) {
    const text = oneLine(at instanceof Error ? at.message : String(at))
    // A WorkerError has the message of what the task threw in its own.
    if (!told.includes(text)) {
      lines.push(`  caused by ${headline(at)}`)
      told = text
    }
    if (!(at instanceof Error)) break
    if (stacks && at.stack) lines.push(at.stack)
    const place = stacks ? undefined : userPlace(at.stack)
    if (place !== undefined) lines.push(`    at ${place}`)
    at = at.cause
  }
  return lines
}

const oneLine = (text: string) => text.replace(/\s*\n\s*/g, ' ')

function headline(error: unknown): string {
  if (error instanceof WeftError) return `${error.name} (${error.code}): ${oneLine(error.message)}`
  if (error instanceof Error) return `${error.name}: ${oneLine(error.message)}`
  return oneLine(String(error))
}

/** 'loss (tasks/digits.ts:12:9)': the innermost frame that lies in a file of the user. */
export function userPlace(stack: string | undefined, folder = process.cwd()): string | undefined {
  for (const line of stack?.split('\n') ?? []) {
    const frame = /^\s+at (?:async )?(?:(.*?) \()?((?:file:\/\/)?\/[^)]*?):(\d+):(\d+)\)?$/.exec(
      line,
    )
    if (!frame) continue
    const [, called, where, row, column] = frame as unknown as [
      string,
      string?,
      string?,
      string?,
      string?,
    ]
    const path = where!.startsWith('file:') ? fileURLToPath(where!) : where!
    if (path.includes('/node_modules/') || ownFolders.some((own) => path.startsWith(own))) continue
    const near = relative(folder, path)
    const shown = near.startsWith('..') || isAbsolute(near) ? path : near
    const place = `${shown}:${row}:${column}`
    return called === undefined ? place : `${called} (${place})`
  }
  return undefined
}
