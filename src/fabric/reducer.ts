// The gradient reducer of one rank (native/parallel/reducer.h) as the trainer's workers use it: a
// flat arena for all gradients, averaged over the group bucket by bucket while the backward pass
// goes on. The parameters' `grad` are views of the arena from the first begin() on.
import { native } from '../native/addon.js'
import type { Tensor } from '../tensor/tensor.js'

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
}

/** What the next backward pass is: one that only adds up, or the last of a step. */
export type BackwardMode = 'accumulate' | 'reduce'

const modes: Record<BackwardMode, number> = { accumulate: 0, reduce: 1 }

/** Averages gradients over the ranks of a group. */
export class GradientReducer {
  #id: number

  constructor(options: ReducerOptions) {
    const { group, rank, parameters, bucketBytes, timeoutMs, unusedZero = false } = options
    const handles = Float64Array.from(parameters, (parameter) => parameter.handle)
    this.#id = native.reducerCreate(
      group,
      rank,
      handles,
      bucketBytes,
      timeoutMs,
      unusedZero ? 1 : 0,
    )
  }

  /** Call before each backward pass; the first one of a step overwrites the gradients. */
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

  /** Gives the arena back; gradients stay until replaced. Idempotent. */
  dispose(): void {
    if (this.#id === 0) return
    native.reducerDispose(this.#id)
    this.#id = 0
  }
}
