// The gradient reducer of one rank (native/parallel/reducer.h) as the trainer's workers use it: a
// flat arena for all gradients, averaged over the group bucket by bucket while the backward pass
// goes on. The parameters' `grad` are views of the arena from the first begin() on; with shards they have none after
// a step, and the averages of this rank's share alone are kept.
import { native } from '../native/addon.js'
import { keep } from '../tensor/scope/scope.js'
import { Tensor } from '../tensor/tensor.js'

/** How a reducer is made. */
export interface ReducerOptions {
  /** Id of the group, good on every thread. */
  group: number
  rank: number
  /** Leaves on the rank's device; the same order on every rank. */
  parameters: readonly Tensor[]
  bucketBytes: number
  timeoutMs: number
  /** A parameter without a gradient in a step gets zeros, instead of a UsageError. */
  unusedZero?: boolean
  /** Keep only this rank's share of the gradients: its place in the group over which they are cut. */
  shards?: GroupPlace | undefined
  /** The ranks with the same share, over which it is averaged; where there are any. */
  replicas?: GroupPlace | undefined
}

/** A rank of a group, by the group's id. */
export interface GroupPlace {
  group: number
  rank: number
}

/** A run of elements of one parameter that is one rank's. */
export interface ShardPiece {
  /** In the group over which gradients are cut. */
  rank: number
  bucket: number
  /** Index among the parameters. */
  parameter: number
  /** First element, in the flattened parameter. */
  parameterOffset: number
  /** First element, in the rank's block of the bucket. */
  shardOffset: number
  count: number
}

/** This rank's share: a block of each bucket. */
export interface Shards {
  /** Averaged gradients, flat, one tensor a bucket; every step overwrites them. */
  gradients: Tensor[]
  /** Parameters, flat, one tensor a bucket; the model's parameters are views of the same memory. */
  parameters: Tensor[]
  /** Of all ranks: each parameter whole. */
  pieces: ShardPiece[]
}

/** What the next backward pass is: one that only adds up, or the last of a step. */
export type BackwardMode = 'accumulate' | 'reduce'

const modes: Record<BackwardMode, number> = { accumulate: 0, reduce: 1 }

const noPlace: GroupPlace = { group: 0, rank: 0 }

/** Averages gradients over the ranks of a group. */
export class GradientReducer {
  #id: number

  constructor(options: ReducerOptions) {
    const { group, rank, parameters, bucketBytes, timeoutMs, unusedZero = false } = options
    const { shards = noPlace, replicas = noPlace } = options
    const handles = Float64Array.from(parameters, (parameter) => parameter.handle)
    this.#id = native.reducerCreate(
      group,
      rank,
      handles,
      bucketBytes,
      timeoutMs,
      unusedZero ? 1 : 0,
      shards.group,
      shards.rank,
      replicas.group,
      replicas.rank,
    )
  }

  /**
   * Call before each forward and backward pass; the first one of a step overwrites the gradients. Where gradients are
   * cut it BLOCKS until all ranks have submitted the gathers of the step before, at most the timeout.
   */
  begin(mode: BackwardMode, vote: number): void {
    native.reducerBegin(this.#id, modes[mode], vote)
  }

  /**
   * Call after the last backward pass of a step. BLOCKS this thread until all ranks have come, at
   * most the timeout; then makes the current stream wait for the averages. Returns the bitwise or
   * of all ranks' votes. Throws UsageError with `fields.unused` (indices) when a parameter got no
   * gradient.
   */
  finish(): number {
    return native.reducerFinish(this.#id)
  }

  /**
   * What finish() submits over the replicas, before it: for a capture, in which every call belongs to a rank's turn.
   * BLOCKS until the other ranks of the shard have come, at most the timeout.
   */
  average(): void {
    native.reducerAverage(this.#id)
  }

  /** Forgets a step that began and cannot be finished. */
  abandon(): void {
    native.reducerAbandon(this.#id)
  }

  /**
   * Totals since the start: seconds that the device's compute stream stood still for the reduction,
   * and seconds that finish() blocked this thread because other ranks had not come.
   */
  stats(): { deviceWaitSeconds: number; hostWaitSeconds: number; buckets: number; bytes: number } {
    const { waitUs, hostWaitUs, buckets, bytes } = native.reducerStats(this.#id)
    return { deviceWaitSeconds: waitUs / 1e6, hostWaitSeconds: hostWaitUs / 1e6, buckets, bytes }
  }

  /**
   * Order in which the gradients lie in the arena from the next step on; undefined until the ranks have agreed, which
   * they do in the first step. Sums of large buckets depend on it.
   */
  order(): number[] | undefined {
    const order = native.reducerOrder(this.#id)
    return order.length === 0 ? undefined : Array.from(order)
  }

  /** Takes over another run's order before the first step; the same on every rank. Throws UsageError unless it fits. */
  setOrder(order: readonly number[]): void {
    native.reducerSetOrder(this.#id, Float64Array.from(order))
  }

  /**
   * This rank's share, known from the first finish() or setOrder() on; the caller owns the tensors. The parameters move
   * into buckets at the first call. Throws UsageError where gradients are whole on every rank.
   */
  shards(): Shards {
    const { gradients, parameters, pieces } = native.reducerShards(this.#id)
    const tensors = (handles: Float64Array) =>
      Array.from(handles, (handle) => keep(Tensor.from(handle)))
    const piece = (at: number): ShardPiece => ({
      rank: pieces[at]!,
      bucket: pieces[at + 1]!,
      parameter: pieces[at + 2]!,
      parameterOffset: pieces[at + 3]!,
      shardOffset: pieces[at + 4]!,
      count: pieces[at + 5]!,
    })
    return {
      gradients: tensors(gradients),
      parameters: tensors(parameters),
      pieces: Array.from({ length: pieces.length / 6 }, (_, i) => piece(6 * i)),
    }
  }

  /**
   * After this rank has updated its share: submits the all-gathers that bring it to the others. Never waits. What uses
   * a parameter afterwards waits for its bucket, on the device.
   */
  beginGather(): void {
    native.reducerGather(this.#id, 0)
  }

  /**
   * Ends the gathers of a captured step, whose work cannot be waited for from outside. BLOCKS until all ranks have
   * come, at most the timeout; the current stream waits for all parameters then.
   */
  finishGather(): void {
    native.reducerGather(this.#id, 1)
  }

  /** Gives the arena back; gradients stay until replaced. Idempotent. */
  dispose(): void {
    if (this.#id === 0) return
    native.reducerDispose(this.#id)
    this.#id = 0
  }
}
