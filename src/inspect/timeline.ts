// A snapshot as lanes: one a stream, with a span for each record of work. The terminal view and the
// Perfetto export draw them. Pure.
//
// A record's device time is when its stream had done it, so its span begins where the record before it on
// the stream ended, or when the host enqueued it if that came later. Without device times (log mode
// 'basic') a span is a point at the host time.
import type { SnapshotEvent } from '../fabric/event-record.js'
import type { Snapshot } from '../fabric/snapshot.js'

export interface Span {
  event: SnapshotEvent
  startNs: number
  endNs: number
}

export interface Lane {
  device: number
  stream: number
  /** 'host:0 compute'. */
  name: string
  spans: Span[]
  /** Time in operators, copies, sums and graphs. */
  busyNs: number
  /** Time in which the stream stood still at an event. */
  waitNs: number
}

const onStreams = new Set<string>([
  ...['operator', 'copy', 'event_record', 'event_wait', 'collective_launch'],
  ...['collective_combine', 'graph', 'step'],
])
const works = new Set<string>(['operator', 'copy', 'collective_combine', 'graph'])

/** Does the record name work that keeps its stream busy? */
export const isWork = (event: SnapshotEvent): boolean => works.has(event.kind)

/** What an event does, for people: its operator or collective, else its kind. */
export function label(event: SnapshotEvent): string {
  if (event.kind === 'operator') return event.name ?? 'operator'
  if (event.kind === 'step') return event.id === 0 ? 'end of steps' : `step ${event.id}`
  const what = event.kind === 'collective_combine' ? 'combine' : event.kind
  return event.name === undefined ? what : `${event.name}.${what}`
}

/** Name of a device by its index in the snapshot. */
export function deviceNamer(snapshot: Snapshot): (index: number) => string {
  const names = new Map(snapshot.devices.map((device) => [device.index, device.name]))
  return (index) => names.get(index) ?? `device ${index}`
}

/** The lanes of all streams that have a record, by device and stream. */
export function lanesOf(snapshot: Snapshot): Lane[] {
  const nameOf = deviceNamer(snapshot)
  const purposes = new Map(snapshot.streams.map((s) => [`${s.device} ${s.id}`, s.purpose]))
  const lanes = new Map<string, Lane>()
  for (const event of snapshot.events) {
    if (!onStreams.has(event.kind) || event.device < 0) continue
    const key = `${event.device} ${event.stream}`
    let lane = lanes.get(key)
    if (lane === undefined) {
      const purpose = purposes.get(key)
      // A device's own four go by their purpose alone, those made later by their number too.
      const stream =
        event.stream < 4 && purpose !== undefined
          ? purpose
          : `${purpose ?? 'stream'} ${event.stream}`
      const name = `${nameOf(event.device)} ${stream}`
      lane = { device: event.device, stream: event.stream, name, spans: [], busyNs: 0, waitNs: 0 }
      lanes.set(key, lane)
    }
    lane.spans.push({ event, startNs: event.hostNs, endNs: event.hostNs })
  }
  for (const lane of lanes.values()) settle(lane)
  return [...lanes.values()].sort((a, b) => a.device - b.device || a.stream - b.stream)
}

/** Fills in the times of a lane. */
function settle(lane: Lane): void {
  let end = 0
  for (const span of lane.spans) {
    const { event } = span
    if (event.deviceNs === 0) {
      span.startNs = span.endNs = Math.max(end, event.hostNs)
      continue
    }
    span.startNs = Math.max(end, event.hostNs)
    span.endNs = Math.max(span.startNs, event.deviceNs)
    end = span.endNs
    if (isWork(event)) lane.busyNs += span.endNs - span.startNs
    if (event.kind === 'event_wait') lane.waitNs += span.endNs - span.startNs
  }
}

/** A wait of one stream, and what it waited for. */
export interface Wait {
  lane: string
  /** 'host:1 comm', the stream on which the event was recorded; undefined: before the snapshot's events. */
  on: string | undefined
  /** The work just before that event. */
  what: string | undefined
  startNs: number
  ns: number
  from: SnapshotEvent | undefined
  to: SnapshotEvent
}

/** Each wait with the record of its event, in the order of the log. */
export function waitsOf(lanes: readonly Lane[]): Wait[] {
  const spans = lanes
    .flatMap((lane) => lane.spans.map((span) => ({ lane, span })))
    .sort((a, b) => a.span.event.sequence - b.span.event.sequence)
  const recorded = new Map<string, { lane: Lane; event: SnapshotEvent; what: string | undefined }>()
  const latest = new Map<Lane, string>()
  const waits: Wait[] = []
  for (const { lane, span } of spans) {
    const { event } = span
    if (isWork(event)) latest.set(lane, label(event))
    if (event.kind === 'event_record') {
      recorded.set(`${event.device} ${event.id}`, { lane, event, what: latest.get(lane) })
    }
    if (event.kind !== 'event_wait') continue
    const source = recorded.get(`${event.peer} ${event.id}`)
    waits.push({
      lane: lane.name,
      on: source?.lane.name,
      what: source?.what,
      startNs: span.startNs,
      ns: span.endNs - span.startNs,
      from: source?.event,
      to: event,
    })
  }
  return waits
}
