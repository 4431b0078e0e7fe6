// When a run's steps are captured, and what happens when they cannot be: some eager steps first, one
// try, and one line that says how it went. The stepper asks before each step.
import { CollectiveTimeoutError, DesyncError, FabricPoisonedError } from '../../native/errors.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { StepBatches } from './batches.js'
import { type CapturedParts, CapturedStep, signature } from './captured-step.js'

/** Eager steps before the capture: the gradient buckets are in their final order after two. */
const WARM_UP_STEPS = 3

/** Decides step by step between the captured step and an eager one, alike on all ranks. */
export class GraphMode {
  readonly #parts: CapturedParts
  #eagerSteps = 0
  #captured: CapturedStep | undefined
  #failed = false
  #notes: string[] = []

  constructor(parts: CapturedParts) {
    this.#parts = parts
  }

  /** Runs the step captured; undefined when it is to run eagerly. */
  run(taken: StepBatches, vote: number): { votes: number; loss: Tensor } | undefined {
    if (this.#failed) return undefined
    if (this.#captured === undefined) {
      if (this.#eagerSteps++ < WARM_UP_STEPS) return undefined
      this.#captured = this.#capture(taken)
    }
    const captured = this.#captured
    // A batch of another size, such as an epoch's last one, runs eagerly.
    if (captured === undefined || captured.signature !== signature(taken)) return undefined
    return { votes: captured.run(taken, vote), loss: captured.loss }
  }

  /** What there is to tell since the last call. */
  takeNotes(): string[] {
    return this.#notes.splice(0)
  }

  dispose(): void {
    this.#captured?.dispose()
    this.#captured = undefined
    this.#failed = true
  }

  #capture(taken: StepBatches): CapturedStep | undefined {
    try {
      const captured = new CapturedStep(this.#parts, taken)
      this.#notes.push(`graph: step captured after ${WARM_UP_STEPS} steps; replaying it from here`)
      return captured
    } catch (error) {
      const lost = [CollectiveTimeoutError, DesyncError, FabricPoisonedError]
      if (lost.some((type) => error instanceof type)) throw error
      this.#failed = true
      const reason = error instanceof Error ? error.message : String(error)
      this.#notes.push(`graph: the step cannot be captured, training goes on without: ${reason}`)
      return undefined
    }
  }
}
