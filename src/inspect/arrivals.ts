// When ranks came to collectives: how long after the first one, by device and call. The summary adds them up
// over a snapshot, steps.ts by step. Pure.
import type { SnapshotEvent } from '../fabric/event-record.js'

export interface Arrival {
  device: number
  /** Of its record in the log. */
  sequence: number
  lateNs: number
  /** No rank came later. */
  last: boolean
}

/** One row for each rank of each call. */
export function arrivalsOf(events: readonly SnapshotEvent[]): Arrival[] {
  const calls = new Map<string, SnapshotEvent[]>()
  for (const event of events) {
    if (event.kind !== 'collective_arrive') continue
    const key = `${event.detail >>> 8} ${event.id}`
    const list = calls.get(key)
    if (list === undefined) calls.set(key, [event])
    else list.push(event)
  }
  return [...calls.values()].flatMap((list) => {
    const times = list.map((event) => event.hostNs)
    const [first, last] = [Math.min(...times), Math.max(...times)]
    return list.map(({ device, sequence, hostNs }) => ({
      ...{ device, sequence, lateNs: hostNs - first, last: hostNs === last },
    }))
  })
}
