// The device time of one stream by the names of its events. bench/step-log.ts prints it,
// test/host/fabric/step-log.test.ts holds it to its share.
import type { SnapshotEvent } from 'weft'

export interface Account {
  /** By name, longest first; '(no name)' for spans of events that name no work. */
  rows: { name: string; ns: number; calls: number }[]
  namedNs: number
  /** All spans. */
  busyNs: number
  /** Time in which the stream surely stood still: the next work was not enqueued yet. */
  idleNs: number
}

/** Accounts for the compute stream (number 0) of device `index`; events in order, all done. */
export function accountFor(events: readonly SnapshotEvent[], index: number): Account {
  const rows = new Map<string, { name: string; ns: number; calls: number }>()
  let last: SnapshotEvent | undefined
  let [namedNs, busyNs, idleNs] = [0, 0, 0]
  for (const event of events) {
    if (event.device !== index || event.stream !== 0 || event.deviceNs === 0) continue
    if (last) {
      const idle = Math.max(0, Math.min(last.hostNs, event.deviceNs) - last.deviceNs)
      const ns = event.deviceNs - last.deviceNs - idle
      const named = event.kind === 'operator' && event.name !== undefined
      const name = named ? (event.name as string) : '(no name)'
      const row = rows.get(name) ?? { name, ns: 0, calls: 0 }
      rows.set(name, { name, ns: row.ns + ns, calls: row.calls + 1 })
      busyNs += ns
      idleNs += idle
      if (named) namedNs += ns
    }
    last = event
  }
  return { rows: [...rows.values()].sort((a, b) => b.ns - a.ns), namedNs, busyNs, idleNs }
}
