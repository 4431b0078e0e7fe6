// The device time of one stream by the names of its events. bench/step-log.ts and bench/profile.ts print it,
// test/host/fabric/step-log.test.ts holds it to its share.
import type { SnapshotEvent } from 'weft'

export interface AccountRow {
  name: string
  ns: number
  calls: number
  /** Read and written at the least, and of matrix products; of the calls of which it is known. */
  bytes: number
  flop: number
}

export interface Account {
  /** By name, longest first; '(no name)' for spans of events that name no work. */
  rows: AccountRow[]
  namedNs: number
  /** All spans. */
  busyNs: number
  /** Time in which the stream surely stood still: the next work was not enqueued yet. */
  idleNs: number
  /** Times that it did so. */
  gaps: number
}

/** Accounts for the compute stream (number 0) of device `index`; events in order, all done. */
export function accountFor(events: readonly SnapshotEvent[], index: number): Account {
  const rows = new Map<string, AccountRow>()
  let last: SnapshotEvent | undefined
  let [namedNs, busyNs, idleNs, gaps] = [0, 0, 0, 0]
  for (const event of events) {
    if (event.device !== index || event.stream !== 0 || event.deviceNs === 0) continue
    if (last) {
      const idle = Math.max(0, Math.min(last.hostNs, event.deviceNs) - last.deviceNs)
      const ns = event.deviceNs - last.deviceNs - idle
      const named = event.kind === 'operator' && event.name !== undefined
      const name = named ? (event.name as string) : '(no name)'
      const row = rows.get(name) ?? { name, ns: 0, calls: 0, bytes: 0, flop: 0 }
      rows.set(name, row)
      row.ns += ns
      row.calls++
      row.bytes += event.movedBytes ?? 0
      row.flop += event.flop ?? 0
      if (idle > 0) gaps++
      busyNs += ns
      idleNs += idle
      if (named) namedNs += ns
    }
    last = event
  }
  return { rows: [...rows.values()].sort((a, b) => b.ns - a.ns), namedNs, busyNs, idleNs, gaps }
}
