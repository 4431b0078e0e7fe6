// What a snapshot says, in numbers: lanes, longest waits, bytes between devices, communication that no
// computation covered, who arrives late at collectives, memory. `weft inspect` prints it. Pure.
import { describeCall } from '../fabric/open-calls.js'
import type { Snapshot } from '../fabric/snapshot.js'
import { deviceNamer, isWork, type Lane, lanesOf, type Span, waitsOf } from './timeline.js'

const longest = 8

export interface InspectSummary {
  logMode: string
  events: number
  dropped: number
  skipped: number
  poisoned: string | undefined
  /** Time from the first event to the last. */
  spanNs: number
  lanes: { name: string; events: number; busyNs: number; waitNs: number }[]
  /** The longest ones first; only with device times. */
  waits: { lane: string; on: string | undefined; what: string | undefined; ns: number }[]
  /** Copies by the device whose stream made them and the other one; GB/s only with device times. */
  links: { device: string; peer: string; copies: number; bytes: number; gbps: number | undefined }[]
  /** Communication during which the device computed nothing; only with device times. */
  communication: { device: string; ns: number; exposedNs: number }[]
  /** How long after the first rank each device came to collectives. */
  arrivals: { device: string; calls: number; meanLateNs: number; last: number }[]
  memory: {
    device: string
    allocatedBytes: number
    reservedBytes: number
    peakReservedBytes: number
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
    spanNs: events.length === 0 ? 0 : events.at(-1)!.hostNs - events[0]!.hostNs,
    lanes: lanes.map(({ name, spans, busyNs, waitNs }) => ({
      ...{ name, events: spans.length, busyNs, waitNs },
    })),
    waits: waits
      .sort((a, b) => b.ns - a.ns)
      .slice(0, longest)
      .map(({ lane, on, what, ns }) => ({ lane, on, what, ns })),
    links: linksOf(lanes, nameOf),
    communication: communicationOf(lanes, nameOf),
    arrivals: arrivalsOf(snapshot, nameOf),
    memory: snapshot.memory.map((row) => ({
      device: nameOf(row.device),
      allocatedBytes: row.allocatedBytes,
      reservedBytes: row.reservedBytes,
      peakReservedBytes: row.peakReservedBytes,
    })),
    open: groups.flatMap((g) => g.open.map((call) => describeCall(call, snapshot.takenNs))),
    aborted: groups.flatMap((g) => (g.aborted ? [`group ${g.id} was aborted: ${g.aborted}`] : [])),
    ...{ algorithms, counters },
  }
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

/** A copy or sum that belongs to a collective. */
const communicates = ({ event }: Span) =>
  event.kind === 'collective_combine' || (event.kind === 'copy' && event.name !== undefined)

function communicationOf(lanes: readonly Lane[], nameOf: (index: number) => string) {
  const devices = [...new Set(lanes.map((lane) => lane.device))]
  return devices.flatMap((device) => {
    const spans = lanes
      .filter((lane) => lane.device === device)
      .flatMap((lane) => lane.spans)
      .filter((span) => isWork(span.event) && span.endNs > span.startNs)
    const [ns, exposedNs] = covered(spans)
    return ns === 0 ? [] : [{ device: nameOf(device), ns, exposedNs }]
  })
}

/** Length of the union of communication, and of its part that no other work overlaps. */
function covered(spans: readonly Span[]): [all: number, exposed: number] {
  const edges = spans.flatMap((span) => {
    const comm = communicates(span)
    return [
      { at: span.startNs, comm, by: 1 },
      { at: span.endNs, comm, by: -1 },
    ]
  })
  edges.sort((a, b) => a.at - b.at)
  let [communicating, computing, all, exposed, before] = [0, 0, 0, 0, 0]
  for (const { at, comm, by } of edges) {
    if (communicating > 0) all += at - before
    if (communicating > 0 && computing === 0) exposed += at - before
    if (comm) communicating += by
    else computing += by
    before = at
  }
  return [all, exposed]
}

function arrivalsOf(snapshot: Snapshot, nameOf: (index: number) => string) {
  const calls = new Map<string, { device: number; ns: number }[]>()
  for (const event of snapshot.events) {
    if (event.kind !== 'collective_arrive') continue
    const key = `${event.detail >>> 8} ${event.id}`
    const list = calls.get(key) ?? []
    list.push({ device: event.device, ns: event.hostNs })
    calls.set(key, list)
  }
  const rows = new Map<number, { calls: number; lateNs: number; last: number }>()
  for (const list of calls.values()) {
    const first = Math.min(...list.map((each) => each.ns))
    const last = Math.max(...list.map((each) => each.ns))
    for (const { device, ns } of list) {
      const row = rows.get(device) ?? { calls: 0, lateNs: 0, last: 0 }
      row.calls++
      row.lateNs += ns - first
      if (ns === last) row.last++
      rows.set(device, row)
    }
  }
  return [...rows].map(([device, row]) => ({
    ...{ device: nameOf(device), calls: row.calls, last: row.last },
    meanLateNs: row.lateNs / row.calls,
  }))
}
