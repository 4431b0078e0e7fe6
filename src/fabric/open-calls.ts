// Groups, their open calls and graphs as a snapshot tells them, and one sentence for each open call:
// who waits for whom. Snapshot decodes them, `weft inspect` prints them. Pure.
import { dtypeNames } from '../tensor/dtype.js'
import { reduceOps } from './collective-call.js'
import { collectiveKinds } from './event-kinds.js'

export const callStates = ['gathering', 'launching', 'launched'] as const

/** What a rank brought to a call. Times are on the clock of `Snapshot.takenNs`. */
export interface SnapshotArrival {
  arrivedNs: number
  /** 'all_reduce', …, 'replay'. */
  kind: string
  op: string
  dtype: string
  count: number
  root: number
  /** Its result is there. */
  done: boolean
}

/** A call that was not over. */
export interface SnapshotCall {
  group: number
  sequence: number
  /** Waiting for ranks; being launched; launched and not done. */
  state: (typeof callStates)[number]
  /** When the first rank came. */
  sinceNs: number
  /** 0: not launched. */
  launchedNs: number
  /** Of the state that it is in; 0: none. */
  deadlineNs: number
  /** By rank; undefined: it has not come. */
  ranks: (SnapshotArrival | undefined)[]
}

/** A group as a snapshot tells it: its ranks, how many calls each made, and the calls that are open. */
export interface SnapshotGroup {
  id: number
  name: string
  /** What abort() was given; undefined when it was not aborted. */
  aborted: string | undefined
  calls: number
  bytes: number
  desyncs: number
  timeouts: number
  aborts: number
  /** By rank: device index, calls made so far, the last one's kind and time. */
  ranks: { device: number; calls: number; lastNs: number; last: string | undefined }[]
  /** Oldest first. */
  open: SnapshotCall[]
}

/** A captured graph as a snapshot tells it. */
export interface SnapshotGraph {
  id: number
  launches: number
  /** Device indices. */
  devices: number[]
}

/** A collective algorithm as a snapshot tells it: how often it was chosen. */
export interface SnapshotAlgorithm {
  name: string
  /** Times it was chosen, and the bytes of a rank in those calls. */
  calls: number
  bytes: number
}

export function kindName(kind: number): string {
  return collectiveKinds[kind] ?? 'replay'
}

export function arrivalNames(kind: number, op: number, dtype: number) {
  return {
    kind: kindName(kind),
    op: reduceOps[op] ?? String(op),
    dtype: dtypeNames[dtype] ?? String(dtype),
  }
}

const list = (ranks: number[]) =>
  `rank${ranks.length === 1 ? '' : 's'} ${ranks.join(', ')} ${ranks.length === 1 ? 'has' : 'have'}`

/** 'all_reduce of 4 x f32, call 3 of group 1: ranks 0, 2 have waited 52 ms for rank 1'. */
export function describeCall(call: SnapshotCall, takenNs: number): string {
  const came = call.ranks.flatMap((rank, r) => (rank ? [r] : []))
  const first = call.ranks[came[0] ?? 0]
  const data =
    first === undefined || ['barrier', 'replay'].includes(first.kind)
      ? ''
      : ` of ${first.count} x ${first.dtype}`
  const head = `${first?.kind ?? 'a call'}${data}, call ${call.sequence} of group ${call.group}`
  const ms = ((takenNs - (call.launchedNs || call.sinceNs)) / 1e6).toFixed(0)
  if (call.state === 'gathering') {
    const missing = call.ranks.flatMap((rank, r) => (rank ? [] : [r]))
    const whom = missing.length === 1 ? 'rank' : 'ranks'
    return `${head}: ${list(came)} waited ${ms} ms for ${whom} ${missing.join(', ')}`
  }
  if (call.state === 'launching')
    return `${head}: all ranks came ${ms} ms ago, it is being launched`
  const late = call.ranks.flatMap((rank, r) => (rank?.done ? [] : [r]))
  return `${head}: launched ${ms} ms ago, ${list(late)} no result yet`
}
