// Tables of the command line. devices.ts and runs.ts print them.
import Table from 'cli-table3'

/** A table as text; coloured only where a person looks. */
export function table(head: string[], rows: string[][]): string {
  const style = process.stdout.isTTY ? {} : { style: { head: [], border: [] } }
  const made = new Table({ head, ...style })
  made.push(...rows)
  return made.toString()
}
