// One record of the event log as it lies in memory and in snapshot files: what its fields mean, and how
// it is decoded. Snapshots and the event stream use it. Pure.
import type { AddedOperators, EventKind } from './event-kinds.js'
import { detailName, eventKinds } from './event-kinds.js'

/** Bytes of one record. */
export const eventBytes = 64
const noDevice = 0xffff

/**
 * One record of the event log. Times are nanoseconds of a steady clock (`Snapshot.takenNs` is on
 * it).
 */
export interface SnapshotEvent {
  /** Dense, from 1. */
  sequence: number
  kind: EventKind
  /** Operator or collective, where the kind has one or the event belongs to one. */
  name: string | undefined
  /** Device index, -1 when none. */
  device: number
  stream: number
  /** The other device of a copy or edge, -1 when none. */
  peer: number
  bytes: number
  /**
   * Tensor handle, operator id, number of the step or, for collective events and the copies of a collective, the number
   * of the call in its group.
   */
  id: number
  hostNs: number
  /**
   * When its stream was done with it; 0 when not known: the log mode was not 'timing', the kind
   * names nothing that runs on a stream, it was captured into a graph, or it is not done yet.
   */
  deviceNs: number
  detail: number
  /** What tag() named it, 'forward/attention'; undefined: nothing. */
  tag: string | undefined
  /**
   * Duration in ns where known, else 0. Of a `plugin` event the position of the algorithm that was
   * registered or, when `name` is there, chosen for a call. Of an operator 0.
   */
  extra: number
  /**
   * Of an operator or its `.backward`, in log mode 'timing': bytes that it reads and writes at the least, by the shapes of
   * its tensors; undefined: not known.
   */
  movedBytes?: number
  /** With `movedBytes`: floating-point operations of its matrix products; 0: none. */
  flop?: number
}

/** Decodes the record at byte `at`; `tagName` knows the tags by number, `added` the operators of plugins. */
export function decodeEvent(
  v: DataView,
  at: number,
  tagName: (number: number) => string | undefined,
  added?: AddedOperators,
): SnapshotEvent {
  const kind = eventKinds[v.getUint16(at + 40, true)] ?? 'error'
  const device = v.getUint16(at + 42, true)
  const peer = v.getUint16(at + 46, true)
  const detail = v.getUint32(at + 48, true)
  // As native/dispatch/operator_costs.h packs it.
  const costs =
    kind === 'operator' && (v.getUint32(at + 56, true) | v.getUint32(at + 60, true)) !== 0
  return {
    sequence: u64(v, at),
    kind,
    name: detailName(kind, detail, added),
    device: device === noDevice ? -1 : device,
    stream: v.getUint16(at + 44, true),
    peer: peer === noDevice ? -1 : peer,
    bytes: u64(v, at + 24),
    id: u64(v, at + 32),
    hostNs: u64(v, at + 8),
    deviceNs: u64(v, at + 16),
    detail,
    tag: tagName(v.getUint32(at + 52, true)),
    extra: kind === 'operator' ? 0 : u64(v, at + 56),
    ...(costs
      ? { movedBytes: v.getFloat32(at + 56, true), flop: v.getFloat32(at + 60, true) }
      : {}),
  }
}

function u64(v: DataView, at: number): number {
  return v.getUint32(at, true) + v.getUint32(at + 4, true) * 2 ** 32
}
