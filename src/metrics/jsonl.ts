// One JSON object a line, appended whole: what a run's metrics.jsonl is made of. Each record is one
// write call on a descriptor opened for appending, so a killed process leaves complete lines only.
// The trainer's run directory owns one; readers may follow the file while it grows.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/** A record of a JSON-lines file. Numbers that are not finite become null, as JSON has no others. */
export type JsonRecord = Record<string, unknown>

/** Appends records to one file until it is closed. */
export class JsonLines {
  readonly path: string
  #descriptor: number | undefined
  #records = 0

  constructor(path: string) {
    this.path = path
    this.#descriptor = openSync(path, 'a')
  }

  /** Records appended by this object. */
  get records(): number {
    return this.#records
  }

  /** Appends one record as one line. After {@link close} it does nothing. */
  append(record: JsonRecord): void {
    if (this.#descriptor === undefined) return
    const line = Buffer.from(`${JSON.stringify(record)}\n`)
    let offset = 0
    while (offset < line.byteLength) offset += writeSync(this.#descriptor, line, offset)
    this.#records++
  }

  /** Closes the file; may be called again. */
  close(): void {
    if (this.#descriptor === undefined) return
    closeSync(this.#descriptor)
    this.#descriptor = undefined
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Reads every record of a JSON-lines file; a last line without its newline is left out. */
export function readJsonLines(path: string): JsonRecord[] {
  const lines = readFileSync(path, 'utf8').split('\n')
  lines.pop()
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as JsonRecord)
}
