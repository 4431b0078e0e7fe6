// A rank's training step as one graph over all ranks: captured once, after some eager steps have
// settled memory, gradient buckets and kernel choices, and then replayed for every batch of the same
// shapes. Used by the stepper when the run asks for graphs. The native side is
// native/graph/group_capture.h.
//
// A replay copies the batch into the tensors that the graph reads, writes what changes from step to
// step (random state, learning rate, step count) and launches the graph when all ranks have come.
import { noGrad } from '../../autograd/no-grad.js'
import { collectRates, ReplayRates } from '../../graph/replay-rates.js'
import { native } from '../../native/addon.js'
import { zeros } from '../../tensor/operators/factory.js'
import { disposeAll, scope } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Batch, HostBatch } from '../task.js'
import { type StepBatches, toDevice } from './batches.js'

/** Runs what enqueues work of this rank; inside a capture when it is the rank's turn. */
export type Turn = (body: () => void) => void

/** What a captured step is made of. */
export interface CapturedParts {
  group: number
  rank: number
  device: string
  timeoutMs: number
  /** Forward and backward of all batches; adds their weighted losses to `loss`. */
  passes: (batches: Batch[], taken: StepBatches, loss: Tensor) => void
  /** Groups of some of the ranks in which the step makes calls too: the shard's and the replicas'; 0: none. */
  parts: { shards: number; replicas: number }
  /** Averages over the replicas, after the passes of all ranks. */
  average: () => void
  /** Waits for the reduction; returns all ranks' votes. */
  finish: () => number
  /** Clips and updates the parameters; what it enqueues goes into turns, and between them it may wait for other ranks. */
  update: (turn: Turn) => void
  /** Forgets a reduction that began. */
  abandon: () => void
}

/** Shapes, dtypes and weights of a step's batches, as text: a graph is good for equal ones. */
export function signature(taken: StepBatches): string {
  const entries = taken.batches.map((batch) =>
    Object.entries(batch).map(([name, entry]) => [
      name,
      entry.shape,
      entry.dtype ?? (entry as { data: object }).data.constructor.name,
    ]),
  )
  return JSON.stringify([taken.counts, entries])
}

/** A captured step. */
export class CapturedStep {
  readonly signature: string
  readonly #parts: CapturedParts
  readonly #inputs: Batch[]
  readonly #rates = new ReplayRates()
  /** The step's loss, written by every replay. */
  readonly loss: Tensor
  #id = 0

  /**
   * Captures the step, without running it. BLOCKS until all ranks have come to it. Throws what made
   * it fail, at every rank; the run can go on without graphs then.
   */
  constructor(parts: CapturedParts, taken: StepBatches) {
    this.#parts = parts
    this.signature = signature(taken)
    this.#inputs = taken.batches.map((batch) => ownBatch(batch, parts.device))
    this.loss = zeros([1], { device: parts.device })
    try {
      this.#id = this.#capture(taken)
    } catch (error) {
      this.dispose()
      throw error
    }
  }

  /** Enqueues one step on `taken`'s batches. BLOCKS until all ranks have come; returns their votes. */
  run(taken: StepBatches, vote: number): number {
    const { group, rank, device, timeoutMs } = this.#parts
    noGrad(() =>
      scope(() => {
        taken.batches.forEach((batch, micro) => {
          const inputs = this.#inputs[micro]!
          for (const [name, value] of Object.entries(toDevice(batch, device))) {
            inputs[name]!.copy_(value)
          }
        })
      }),
    )
    const rates = this.#rates.next([device])
    return native.graphReplayRank(this.#id, group, rank, rates, vote, timeoutMs)
  }

  /** Gives the graph and its inputs back. BLOCKS until its last run is done. Idempotent. */
  dispose(): void {
    if (this.#id !== 0) native.graphDispose(this.#id)
    this.#id = 0
    disposeAll([this.loss, ...this.#inputs.flatMap((batch) => Object.values(batch))])
  }

  #capture(taken: StepBatches): number {
    const { group, rank, timeoutMs, parts, passes, average, finish, update, abandon } = this.#parts
    const { shards, replicas } = parts
    const capture = native.groupCaptureJoin(group, rank, timeoutMs, shards, replicas)
    const turn: Turn = (body) => {
      native.groupCaptureEnter(capture, rank)
      body()
      native.groupCaptureLeave(capture, rank)
    }
    let failure: unknown
    try {
      collectRates(this.#rates, () => {
        turn(() => {
          noGrad(() => this.loss.zero_())
          passes(this.#inputs, taken, this.loss)
        })
        if (replicas !== 0) turn(average)
        finish()
        update(turn)
      })
    } catch (error) {
      failure = error ?? new Error('unknown')
      abandon()
    }
    const reason = failure === undefined ? '' : String((failure as Error).message ?? failure)
    try {
      return native.groupCaptureFinish(capture, rank, reason)
    } catch (error) {
      throw failure ?? error
    }
  }
}

/** The batch on the device, in tensors that nobody else owns. */
function ownBatch(batch: HostBatch, device: string): Batch {
  const moved = toDevice(batch, device)
  return Object.fromEntries(
    Object.entries(moved).map(([name, value]) => [
      name,
      (batch[name] as unknown) === value ? noGrad(() => value.clone()) : value,
    ]),
  )
}
