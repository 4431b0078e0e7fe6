// What a snapshot says, in numbers: lanes, longest waits, bytes between devices, communication that no
// computation covered, tags, steps, who arrives late at collectives, memory. `weft inspect` prints it. Pure.
import { describeCall } from '../fabric/open-calls.js'
import type { Snapshot } from '../fabric/snapshot.js'
import { arrivalsOf } from './arrivals.js'
import { communicationOf } from './communication.js'
import { type StepSummary, stepsOf } from './steps.js'
import { deviceNamer, isWork, type Lane, lanesOf, waitsOf } from './timeline.js'

const longest = 8

export interface InspectSummary {
  logMode: string
  events: number
  dropped: number
  skipped: number
  poisoned: string | undefined
  /** Pairs of devices that failed their test, and why. */
  unused: string[]
  /** Time from the first event to the last. */
  spanNs: number
  lanes: { name: string; events: number; busyNs: number; waitNs: number }[]
  /** By time on their streams, or by calls without device times; the largest ones. */
  operators: { name: string; calls: number; ns: number }[]
  /** The longest ones first; only with device times. */
  waits: { lane: string; on: string | undefined; what: string | undefined; ns: number }[]
  /** Copies by the device whose stream made them and the other one; GB/s only with device times. */
  links: { device: string; peer: string; copies: number; bytes: number; gbps: number | undefined }[]
  /** Communication during which the device computed nothing; only with device times. */
  communication: { device: string; ns: number; exposedNs: number }[]
  /** Work by the program's own tags, the longest first; a tag inside another counts apart. */
  tags: { tag: string; records: number; busyNs: number }[]
  /** Steps that the program marked. */
  steps: StepSummary[]
  /** How long after the first rank each device came to collectives. */
  arrivals: { device: string; calls: number; meanLateNs: number; last: number }[]
  memory: {
    device: string
    allocatedBytes: number
    reservedBytes: number
    peakReservedBytes: number
    /** 'shared, small', 'graph 3, large'; used: live, or waiting for another stream. */
    pools: { pool: string; segments: number; usedBytes: number; reservedBytes: number }[]
  }[]
  /** One sentence for each call that was not over. */
  open: string[]
  aborted: string[]
  algorithms: { name: string; calls: number; bytes: number }[]
  counters: Record<string, number>
}

export function summarize(snapshot: Snapshot): InspectSummary {
  const lanes = lanesOf(snapshot)
  const nameOf = deviceNamer(snapshot)
  const { logMode, events, dropped, skipped, poisoned, algorithms, counters, groups } = snapshot
  const waits = waitsOf(lanes).filter((wait) => wait.ns > 0)
  return {
    ...{ logMode, events: events.length, dropped, skipped, poisoned },
    unused: snapshot.links.flatMap(({ from, to, probe }) =>
      probe === undefined || probe.reason === ''
        ? []
        : [`${nameOf(from)} to ${nameOf(to)}: ${probe.reason}`],
    ),
    spanNs: events.length === 0 ? 0 : events.at(-1)!.hostNs - events[0]!.hostNs,
    lanes: lanes.map(({ name, spans, busyNs, waitNs }) => ({
      ...{ name, events: spans.length, busyNs, waitNs },
    })),
    operators: operatorsOf(lanes),
    waits: waits
      .sort((a, b) => b.ns - a.ns)
      .slice(0, longest)
      .map(({ lane, on, what, ns }) => ({ lane, on, what, ns })),
    links: linksOf(lanes, nameOf),
    communication: byDevice(lanes, nameOf),
    tags: tagsOf(lanes),
    steps: stepsOf(events, lanes, nameOf),
    arrivals: latenessOf(snapshot, nameOf),
    memory: snapshot.memory.map((row) => ({
      device: nameOf(row.device),
      allocatedBytes: row.allocatedBytes,
      reservedBytes: row.reservedBytes,
      peakReservedBytes: row.peakReservedBytes,
      pools: snapshot.pools
        .filter((pool) => pool.device === row.device)
        .map(({ pool, small, segments, reservedBytes, freeBytes }) => ({
          pool: `${pool === 0 ? 'shared' : `graph ${pool}`}, ${small ? 'small' : 'large'}`,
          ...{ segments, reservedBytes, usedBytes: reservedBytes - freeBytes },
        })),
    })),
    open: groups.flatMap((g) => g.open.map((call) => describeCall(call, snapshot.takenNs))),
    aborted: groups.flatMap((g) => (g.aborted ? [`group ${g.id} was aborted: ${g.aborted}`] : [])),
    ...{ algorithms, counters },
  }
}

function operatorsOf(lanes: readonly Lane[]) {
  const rows = new Map<string, { name: string; calls: number; ns: number }>()
  for (const { event, startNs, endNs } of lanes.flatMap((lane) => lane.spans)) {
    if (event.kind !== 'operator' || event.name === undefined) continue
    const row = rows.get(event.name) ?? { name: event.name, calls: 0, ns: 0 }
    row.calls++
    row.ns += endNs - startNs
    rows.set(event.name, row)
  }
  return [...rows.values()].sort((a, b) => b.ns - a.ns || b.calls - a.calls).slice(0, longest)
}

function linksOf(lanes: readonly Lane[], nameOf: (index: number) => string) {
  const links = new Map<
    string,
    { device: number; peer: number; copies: number; bytes: number; ns: number }
  >()
  for (const { event, startNs, endNs } of lanes.flatMap((lane) => lane.spans)) {
    if (event.kind !== 'copy' || event.peer < 0 || event.peer === event.device) continue
    const key = `${event.device} ${event.peer}`
    const link = links.get(key) ?? {
      device: event.device,
      peer: event.peer,
      copies: 0,
      bytes: 0,
      ns: 0,
    }
    link.copies++
    link.bytes += event.bytes
    link.ns += endNs - startNs
    links.set(key, link)
  }
  return [...links.values()].map(({ device, peer, copies, bytes, ns }) => ({
    ...{ device: nameOf(device), peer: nameOf(peer), copies, bytes },
    gbps: ns > 0 ? bytes / ns : undefined,
  }))
}

function byDevice(lanes: readonly Lane[], nameOf: (index: number) => string) {
  const devices = [...new Set(lanes.map((lane) => lane.device))]
  return devices.flatMap((device) => {
    const spans = lanes.filter((lane) => lane.device === device).flatMap((lane) => lane.spans)
    const communication = communicationOf(spans)
    return communication.ns === 0 ? [] : [{ device: nameOf(device), ...communication }]
  })
}

function tagsOf(lanes: readonly Lane[]) {
  const tags = new Map<string, { tag: string; records: number; busyNs: number }>()
  for (const { event, startNs, endNs } of lanes.flatMap((lane) => lane.spans)) {
    if (event.tag === undefined || !isWork(event)) continue
    const row = tags.get(event.tag) ?? { tag: event.tag, records: 0, busyNs: 0 }
    row.records++
    row.busyNs += endNs - startNs
    tags.set(event.tag, row)
  }
  return [...tags.values()].sort((a, b) => b.busyNs - a.busyNs || b.records - a.records)
}

function latenessOf(snapshot: Snapshot, nameOf: (index: number) => string) {
  const rows = new Map<number, { calls: number; lateNs: number; last: number }>()
  for (const { device, lateNs, last } of arrivalsOf(snapshot.events)) {
    const row = rows.get(device) ?? { calls: 0, lateNs: 0, last: 0 }
    row.calls++
    row.lateNs += lateNs
    if (last) row.last++
    rows.set(device, row)
  }
  return [...rows].map(([device, row]) => ({
    ...{ device: nameOf(device), calls: row.calls, last: row.last },
    meanLateNs: row.lateNs / row.calls,
  }))
}
