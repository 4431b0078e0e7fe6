// Snapshots: one packed buffer with devices, links, streams, memory, counters and events, decoded
// lazily. Layout: native/binding/fabric/snapshot.cc. The bytes are also the snapshot file. Pure.
import { CheckpointError } from '../native/errors.js'
import type { PairProbe } from '../native/link-types.js'
import { streamPurposes } from './event-kinds.js'
import { decodeEvent, eventBytes, type SnapshotEvent } from './event-record.js'
import { memoryFields } from './memory-fields.js'
import type { SnapshotAlgorithm, SnapshotCall, SnapshotGraph, SnapshotGroup } from './open-calls.js'
import { arrivalNames, callStates, kindName } from './open-calls.js'
import type {
  SnapshotDevice,
  SnapshotLink,
  SnapshotMemory,
  SnapshotPool,
  SnapshotStream,
} from './snapshot-rows.js'

const magic = 0x50534657
const version = 4
const oldest = 1
const headerBytes = 64
const section = {
  ...{ strings: 1, devices: 2, links: 3, streams: 4, memory: 5, counters: 6, events: 7 },
  ...{ groups: 8, seats: 9, calls: 10, arrivals: 11, graphs: 12, algorithms: 13, poison: 14 },
  ...{ tags: 15, operators: 16, pools: 17, probes: 18 },
}
const probeStates = ['untested', 'works', 'wrong', 'hangs', 'refused'] as const
const logModes = ['off', 'basic', 'timing'] as const

/** A decoded snapshot; sections are decoded when they are read. */
export class Snapshot {
  /** The packed bytes: write them to a file, read them with Snapshot.decode. */
  readonly bytes: ArrayBuffer
  /** Steady clock, ns. */
  readonly takenNs: number
  /** Wall clock, ms since 1970. */
  readonly takenUnixMs: number
  /** Ask for this `since` next time. */
  readonly nextSequence: number
  /** Events of the asked range that were overwritten. */
  readonly dropped: number
  /** Events of the asked range that `limit` left out: older than those here, and not yet overwritten. */
  readonly skipped: number
  /** Events that the log keeps. */
  readonly capacity: number
  readonly logMode: (typeof logModes)[number]
  /** Version of the packed bytes. */
  readonly version: number
  readonly #view: DataView
  readonly #sections = new Map<number, { count: number; offset: number; bytes: number }>()
  #events: SnapshotEvent[] | undefined

  private constructor(bytes: ArrayBuffer) {
    const view = new DataView(bytes)
    if (bytes.byteLength < headerBytes || view.getUint32(0, true) !== magic) {
      throw new CheckpointError('this is not a weft snapshot')
    }
    const found = view.getUint32(4, true)
    if (found < oldest || found > version) {
      throw new CheckpointError(
        `snapshot version ${found}; this weft reads versions ${oldest} to ${version}`,
      )
    }
    this.version = found
    if (view.getUint32(8, true) > bytes.byteLength)
      throw new CheckpointError('the snapshot is cut short')
    this.bytes = bytes
    this.#view = view
    this.takenNs = this.#u64(16)
    this.takenUnixMs = view.getFloat64(24, true)
    this.nextSequence = this.#u64(32)
    this.dropped = this.#u64(40)
    this.capacity = this.#u64(48)
    this.skipped = view.getUint32(60, true)
    this.logMode = logModes[view.getUint32(56, true)] ?? 'off'
    const count = view.getUint32(12, true)
    for (let i = 0; i < count; i++) {
      const at = headerBytes + i * 16
      const [kind, rows, offset, size] = [0, 4, 8, 12].map((d) => view.getUint32(at + d, true))
      this.#sections.set(kind as number, { count: rows!, offset: offset!, bytes: size! })
    }
  }

  /** Reads packed bytes; throws CheckpointError for other data or another version. */
  static decode(bytes: ArrayBuffer | ArrayBufferView): Snapshot {
    if (bytes instanceof ArrayBuffer) return new Snapshot(bytes)
    const { buffer, byteOffset, byteLength } = bytes
    return new Snapshot(buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer)
  }

  /** Devices by index, in the order in which the process opened them. */
  get devices(): SnapshotDevice[] {
    return this.#rows(section.devices, 64, (at, v) => ({
      index: v.getUint16(at, true),
      driver: v.getUint16(at + 2, true) === 0 ? 'host' : 'cuda',
      ordinal: v.getInt32(at + 4, true),
      virtualIndex: v.getInt32(at + 8, true),
      multiprocessors: v.getInt32(at + 12, true),
      totalBytes: this.#u64(at + 16),
      name: this.#text(at + 24),
      model: this.#text(at + 32),
      uuid: this.#text(at + 40),
      pci: this.#text(at + 48),
      capability: `${v.getUint16(at + 56, true)}.${v.getUint16(at + 58, true)}`,
    }))
  }

  /** Links of every ordered pair of devices. */
  get links(): SnapshotLink[] {
    const short = this.version < 2
    const probes = this.#probes()
    return this.#rows(section.links, short ? 24 : 48, (at, v) => ({
      from: v.getUint16(at, true),
      to: v.getUint16(at + 2, true),
      peerAccess: v.getUint32(at + 4, true) !== 0,
      gbps: v.getFloat64(at + 8, true),
      kind: this.#text(at + 16),
      nominalGbps: short ? 0 : v.getFloat64(at + 24, true),
      through: short ? '' : this.#text(at + 32),
      lanes: short ? 0 : v.getUint32(at + 40, true),
      ...probes.get(v.getUint32(at, true)),
    }))
  }

  /** Streams of all devices. */
  get streams(): SnapshotStream[] {
    return this.#rows(section.streams, 8, (at, v) => ({
      device: v.getUint16(at, true),
      id: v.getUint16(at + 2, true),
      purpose: streamPurposes[v.getUint8(at + 4)] ?? 'user',
      idle: v.getUint8(at + 5) !== 0,
    }))
  }

  /** One row a device: live tensors and allocator statistics. */
  get memory(): SnapshotMemory[] {
    return this.#rows(section.memory, 144, (at) => {
      const row = { device: this.#u64(at) } as SnapshotMemory
      memoryFields.forEach((field, i) => {
        row[field] = this.#u64(at + 8 + 8 * i)
      })
      return row
    })
  }

  /** Memory by pool; empty in files of before it was told. */
  get pools(): SnapshotPool[] {
    return this.#rows(section.pools, 32, (at, v) => ({
      device: v.getUint16(at, true),
      small: v.getUint8(at + 2) !== 0,
      pool: v.getUint32(at + 4, true),
      segments: v.getUint32(at + 8, true),
      reservedBytes: this.#u64(at + 16),
      freeBytes: this.#u64(at + 24),
    }))
  }

  /** Counters of the process by name. */
  get counters(): Record<string, number> {
    return Object.fromEntries(
      this.#rows(section.counters, 16, (at, v) => [this.#text(at), v.getFloat64(at + 8, true)]),
    )
  }

  /**
   * Were the process's bits free of measurements: no GPU open, or one whose GEMM choices were not measured?
   * undefined in files of before it was told.
   */
  get deterministic(): boolean | undefined {
    const found = this.counters.deterministic
    return found === undefined ? undefined : found !== 0
  }

  /** Groups with the calls that were open; empty in files of before they were told. */
  get groups(): SnapshotGroup[] {
    const seats = this.#rows(section.seats, 24, (at, v) => ({
      device: v.getUint32(at, true),
      calls: this.#u64(at + 8),
      lastNs: this.#u64(at + 16),
      last: this.#u64(at + 8) === 0 ? undefined : kindName(v.getUint32(at + 4, true)),
    }))
    const calls = this.#calls()
    return this.#rows(section.groups, 72, (at, v) => {
      const [id, ranks, first] = [at, at + 4, at + 64].map((w) => v.getUint32(w, true)) as [
        number,
        number,
        number,
      ]
      return {
        id,
        name: this.#text(at + 8),
        aborted: this.#text(at + 16) || undefined,
        calls: this.#u64(at + 24),
        bytes: this.#u64(at + 32),
        desyncs: this.#u64(at + 40),
        timeouts: this.#u64(at + 48),
        aborts: this.#u64(at + 56),
        ranks: seats.slice(first, first + ranks),
        open: calls.filter((call) => call.group === id),
      }
    })
  }

  /** Captured graphs that were alive. */
  get graphs(): SnapshotGraph[] {
    return this.#rows(section.graphs, 24, (at, v) => ({
      id: v.getUint32(at, true),
      launches: this.#u64(at + 8),
      devices: this.#text(at + 16)
        .split(' ')
        .filter(Boolean)
        .map(Number),
    }))
  }

  /** Collective algorithms and how often each was chosen. */
  get algorithms(): SnapshotAlgorithm[] {
    return this.#rows(section.algorithms, 24, (at) => ({
      name: this.#text(at),
      calls: this.#u64(at + 8),
      bytes: this.#u64(at + 16),
    }))
  }

  /** Why the process must restart; undefined when no device failed for good. */
  get poisoned(): string | undefined {
    return this.#rows(section.poison, 8, (at) => this.#text(at))[0]
  }

  /** Number of events in this snapshot. */
  get eventCount(): number {
    return this.#sections.get(section.events)?.count ?? 0
  }

  /** All events, oldest first; decoded once. */
  get events(): readonly SnapshotEvent[] {
    if (this.#events !== undefined) return this.#events
    const tags = this.#rows(section.tags, 8, (at) => this.#text(at))
    const tagName = (number: number) => tags[number - 1]
    const added = new Map(
      this.#rows(section.operators, 16, (at, v) => [v.getUint32(at, true), this.#text(at + 8)]),
    )
    this.#events = this.#rows(section.events, eventBytes, (at) =>
      decodeEvent(this.#view, at, tagName, added),
    )
    return this.#events
  }

  /** Everything decoded, for JSON.stringify. */
  toJSON(): object {
    const { version, takenNs, takenUnixMs, nextSequence, dropped, skipped, capacity, logMode } =
      this
    const { devices, links, streams, memory, pools, counters, events } = this
    const { groups, graphs, algorithms, poisoned } = this
    return {
      ...{ version, takenNs, takenUnixMs, nextSequence, dropped, skipped, capacity, logMode },
      ...{
        devices,
        links,
        streams,
        memory,
        pools,
        counters,
        groups,
        graphs,
        algorithms,
        poisoned,
        events,
      },
    }
  }

  /** By the first word of a link's row: both ends. */
  #probes(): Map<number, { probe: PairProbe }> {
    const path = (v: DataView, state: number, at: number) => {
      const [gbps, bothGbps, latencyUs] = [0, 8, 16].map((d) => v.getFloat64(at + d, true))
      return {
        ...{ state: probeStates[v.getUint8(state)] ?? 'untested' },
        ...{ gbps: gbps!, bothGbps: bothGbps!, latencyUs: latencyUs! },
      }
    }
    return new Map(
      this.#rows(section.probes, 64, (at, v) => {
        const [copy, kernel] = [path(v, at + 4, at + 16), path(v, at + 5, at + 40)]
        const probe = { copy, kernel, reason: this.#text(at + 8) }
        return [v.getUint32(at, true), { probe }] as const
      }),
    )
  }

  #calls(): SnapshotCall[] {
    const arrivals = this.#rows(section.arrivals, 24, (at, v) => {
      const arrivedNs = this.#u64(at)
      if (arrivedNs === 0) return undefined
      const names = arrivalNames(v.getUint8(at + 16), v.getUint8(at + 17), v.getUint8(at + 18))
      const count = this.#u64(at + 8)
      const root = v.getInt32(at + 20, true)
      return { arrivedNs, ...names, count, root, done: v.getUint8(at + 19) !== 0 }
    })
    return this.#rows(section.calls, 48, (at, v) => {
      const first = v.getUint32(at + 40, true)
      return {
        group: v.getUint32(at, true),
        state: callStates[v.getUint32(at + 4, true)] ?? 'launched',
        sequence: this.#u64(at + 8),
        sinceNs: this.#u64(at + 16),
        launchedNs: this.#u64(at + 24),
        deadlineNs: this.#u64(at + 32),
        ranks: arrivals.slice(first, first + v.getUint32(at + 44, true)),
      }
    })
  }

  #rows<T>(kind: number, stride: number, row: (at: number, view: DataView) => T): T[] {
    const found = this.#sections.get(kind)
    if (found === undefined) return []
    const rows: T[] = []
    for (let i = 0; i < found.count; i++) rows.push(row(found.offset + i * stride, this.#view))
    return rows
  }

  #u64(at: number): number {
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32
  }

  #text(at: number): string {
    const base = this.#sections.get(section.strings)?.offset ?? 0
    const offset = base + this.#view.getUint32(at, true)
    return new TextDecoder().decode(
      new Uint8Array(this.bytes, offset, this.#view.getUint32(at + 4, true)),
    )
  }
}
