// A snapshot as a Perfetto trace (TrackEvent protobuf), for ui.perfetto.dev: one track a stream, a slice
// for each record of work, a flow from an event's record to each wait for it on another device, and a
// counter of the bytes copied by each device. Tags are slices around the work that they name, and a note on
// each record; steps are tracks of their own. `weft inspect --perfetto` writes it. Pure.
//
// The encoder knows what it needs of protobuf: varints, 64-bit words, text and nested messages. The field
// numbers are those of protos/perfetto/trace/track_event of Perfetto.
import type { Snapshot } from '../fabric/snapshot.js'
import { deviceNamer, isWork, label, lanesOf, waitsOf } from './timeline.js'

const packet = { timestamp: 8, sequence: 10, trackEvent: 11, trackDescriptor: 60 }
const track = { uuid: 1, name: 2, counter: 8 }
const event = {
  ...{ note: 4, type: 9, track: 11, category: 22, name: 23, counter: 30 },
  ...{ flow: 47, flowEnd: 48 },
}
const note = { text: 6, name: 10 }
const types = { begin: 1, end: 2, instant: 3, counter: 4 }
const counterBase = 2 ** 32
const stepBase = 2 ** 33

class Message {
  readonly bytes: number[] = []
  varint(field: number, value: number): this {
    this.#raw(field * 8)
    this.#raw(value)
    return this
  }
  fixed64(field: number, value: number): this {
    this.#raw(field * 8 + 1)
    let left = value
    for (let i = 0; i < 8; i++, left = Math.floor(left / 256)) this.bytes.push(left % 256)
    return this
  }
  text(field: number, value: string): this {
    return this.#block(field, new TextEncoder().encode(value))
  }
  message(field: number, value: Message): this {
    return this.#block(field, value.bytes)
  }
  #block(field: number, bytes: ArrayLike<number>): this {
    this.#raw(field * 8 + 2)
    this.#raw(bytes.length)
    for (let i = 0; i < bytes.length; i++) this.bytes.push(bytes[i]!)
    return this
  }
  #raw(value: number): void {
    let left = value
    for (; left >= 128; left = Math.floor(left / 128)) this.bytes.push((left % 128) + 128)
    this.bytes.push(left)
  }
}

/** The bytes of a .pftrace file. */
export function perfettoTrace(snapshot: Snapshot): Uint8Array {
  const lanes = lanesOf(snapshot)
  const nameOf = deviceNamer(snapshot)
  const packets: Message[] = []
  const describe = (uuid: number, name: string, counter: boolean) => {
    const descriptor = new Message().varint(track.uuid, uuid).text(track.name, name)
    if (counter) descriptor.message(track.counter, new Message())
    packets.push(
      new Message().varint(packet.sequence, 1).message(packet.trackDescriptor, descriptor),
    )
  }
  const add = (ns: number, body: Message) =>
    packets.push(
      new Message()
        .varint(packet.timestamp, ns)
        .varint(packet.sequence, 1)
        .message(packet.trackEvent, body),
    )
  const flows = flowsOf(lanes)
  lanes.forEach((lane, i) => {
    const uuid = i + 1
    describe(uuid, lane.name, false)
    const begin = (ns: number, name: string) =>
      add(
        ns,
        new Message()
          .varint(event.type, types.begin)
          .varint(event.track, uuid)
          .text(event.category, 'tag')
          .text(event.name, name),
      )
    const end = (ns: number) =>
      add(ns, new Message().varint(event.type, types.end).varint(event.track, uuid))
    const tags = new OpenTags(begin, end)
    for (const { event: record, startNs, endNs } of lane.spans) {
      if (record.kind === 'step') {
        tags.enter(undefined, startNs)
        continue
      }
      tags.enter(record.tag, startNs)
      const body = new Message()
        .varint(event.type, endNs > startNs ? types.begin : types.instant)
        .varint(event.track, uuid)
        .text(event.category, isWork(record) ? 'work' : 'order')
        .text(event.name, label(record))
      if (record.tag !== undefined) {
        body.message(event.note, new Message().text(note.text, record.tag).text(note.name, 'tag'))
      }
      for (const flow of flows.starts.get(record.sequence) ?? []) body.fixed64(event.flow, flow)
      const flowEnd = flows.ends.get(record.sequence)
      if (flowEnd !== undefined) body.fixed64(event.flowEnd, flowEnd)
      add(startNs, body)
      if (endNs > startNs) end(endNs)
      tags.latestNs = endNs
    }
    tags.enter(undefined, Number.POSITIVE_INFINITY)
  })
  for (const device of new Set(lanes.map((lane) => lane.device))) {
    const marks = lanes
      .filter((lane) => lane.device === device)
      .flatMap((lane) => lane.spans.filter((span) => span.event.kind === 'step'))
    if (marks.length > 0) describe(stepBase + device, `${nameOf(device)} steps`, false)
    marks.forEach(({ event: record, endNs }, i) => {
      const next = marks[i + 1]
      if (record.id === 0 || next === undefined) return
      const on = (type: number) =>
        new Message().varint(event.type, type).varint(event.track, stepBase + device)
      add(endNs, on(types.begin).text(event.category, 'step').text(event.name, label(record)))
      add(next.endNs, on(types.end))
    })
    const copies = lanes
      .filter((lane) => lane.device === device)
      .flatMap((lane) => lane.spans.filter((span) => span.event.kind === 'copy'))
      .sort((a, b) => a.endNs - b.endNs)
    if (copies.length === 0) continue
    const uuid = counterBase + device
    describe(uuid, `${nameOf(device)} bytes copied`, true)
    let total = 0
    for (const { event: record, endNs } of copies) {
      total += record.bytes
      const body = new Message().varint(event.type, types.counter).varint(event.track, uuid)
      add(endNs, body.varint(event.counter, total))
    }
  }
  const trace = packets.map((each) => Uint8Array.from(new Message().message(1, each).bytes))
  return Buffer.concat(trace)
}

/** The slices of tags that are open on a track: 'forward/attention' is a slice in a slice. */
class OpenTags {
  /** When the latest record ended. */
  latestNs = 0
  #open: string[] = []
  readonly #begin: (ns: number, name: string) => void
  readonly #end: (ns: number) => void

  constructor(begin: (ns: number, name: string) => void, end: (ns: number) => void) {
    this.#begin = begin
    this.#end = end
  }

  /** A record with this tag begins at `ns`. */
  enter(tag: string | undefined, ns: number): void {
    const path = tag === undefined ? [] : tag.split('/')
    let same = 0
    while (same < path.length && path[same] === this.#open[same]) same++
    for (let i = this.#open.length; i > same; i--) this.#end(Math.min(ns, this.latestNs))
    for (const name of path.slice(same)) this.#begin(ns, name)
    this.#open = path
  }
}

/** Ids of flows by the sequence of the record that starts, and of the wait that ends each. */
function flowsOf(lanes: ReturnType<typeof lanesOf>) {
  const starts = new Map<number, number[]>()
  const ends = new Map<number, number>()
  for (const wait of waitsOf(lanes)) {
    if (wait.from === undefined || wait.from.device === wait.to.device) continue
    const { sequence } = wait.to
    starts.set(wait.from.sequence, [...(starts.get(wait.from.sequence) ?? []), sequence])
    ends.set(sequence, sequence)
  }
  return { starts, ends }
}
