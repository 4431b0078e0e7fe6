// All-reduces, reduce-scatters and all-gathers timed by native code: weft's choice, each of its algorithms and NCCL by turns (native/bench). The
// command line's `bench` and `tune` use it. Calls block the thread: a benchmark has nothing else to do.
import { native } from '../native/addon.js'
import type { NativeMeasured } from '../native/bench-types.js'
import { type DType, dtypeId } from '../tensor/dtype.js'
import { collectiveKinds } from './event-kinds.js'
import type { Group } from './group.js'
import type { Stream } from './stream.js'

/** What one contestant took at one size. */
export type MeasuredReduce = NativeMeasured

/** What is measured. */
export type BenchKind = 'allReduce' | 'reduceScatter' | 'allGather'

export interface ReducePlan {
  /** Of the longer buffer of a rank. */
  bytes: number
  rounds: number
  /** Calls of a round, one after the other. */
  calls: number
  /** Calls in the captured graph; 0: no graph. */
  graphCalls: number
  /** Labels to measure; all when missing. */
  only?: readonly string[]
}

export interface ReduceBenchOptions {
  group: Group
  maxBytes: number
  dtype: DType
  /** All-reduce when missing. */
  kind?: BenchKind
  /** All-reduces alone. */
  inPlace?: boolean
  /** Path of NCCL's library; weft alone when missing. */
  nccl?: string
}

const nativeNames = {
  allReduce: 'all_reduce',
  reduceScatter: 'reduce_scatter',
  allGather: 'all_gather',
} as const

/** The number that native code knows the kind by. */
export const kindNumber = (kind: BenchKind): number => collectiveKinds.indexOf(nativeNames[kind])

/** Buffers of a group and what is measured with them. Dispose of it. */
export class ReduceBench {
  readonly #id: number
  readonly #group: number

  constructor({ group, maxBytes, dtype, inPlace, nccl, kind = 'allReduce' }: ReduceBenchOptions) {
    const id = dtypeId(dtype)
    this.#group = group.id
    const [path, place] = [nccl ?? '', inPlace === true]
    this.#id = native.reduceBenchOpen(group.id, maxBytes, id, place, path, kindNumber(kind))
  }

  measure({ bytes, rounds, calls, graphCalls, only = [] }: ReducePlan): MeasuredReduce[] {
    return native.reduceBenchMeasure(this.#id, bytes, rounds, calls, graphCalls, only.join(','))
  }

  /** Enqueues `calls` of the contestant on those streams, one a rank, and returns; measure() it first. */
  start(label: string, bytes: number, calls: number, streams: readonly Stream[]): void {
    const ids = streams.map((stream) => stream.id)
    native.reduceBenchStart(this.#id, label, bytes, calls, this.#group, ids)
  }

  /** Overwrites the contestant's outputs, so that wrong() tells of what is started next. */
  spoil(label: string, bytes: number): void {
    native.reduceBenchSpoil(this.#id, label, bytes)
  }

  /** Elements of its outputs that are not right, over all ranks. */
  wrong(label: string, bytes: number): number {
    return native.reduceBenchWrong(this.#id, label, bytes)
  }

  dispose(): void {
    native.reduceBenchClose(this.#id)
  }
  [Symbol.dispose](): void {
    this.dispose()
  }
}
