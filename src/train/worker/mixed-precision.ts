// What `precision` means to one rank's steps: which region the task's code runs in, and the loss scale of f16. The
// stepper and evaluation ask here at each place that differs.
import { autocast } from '../../autograd/autocast.js'
import { UsageError } from '../../native/errors.js'
import { GradScaler } from '../../optim/grad-scaler.js'
import { Optimizer } from '../../optim/optimizer.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { LossScale, Precision } from '../precision.js'
import type { TaskOptimizer } from '../task.js'

/** The precision of a replica. */
export class MixedPrecision {
  readonly #low: 'bf16' | 'f16' | undefined
  readonly #scaler: GradScaler | undefined

  constructor(precision: Precision, device: string) {
    this.#low = precision === 'bf16' || precision === 'f16' ? precision : undefined
    if (precision === 'f16') this.#scaler = new GradScaler({ device })
  }

  /** The scale of f16 and what was skipped, for checkpoints; empty where no loss is scaled. */
  stateDict(): Record<string, Tensor> {
    return this.#scaler?.stateDict() ?? {}
  }

  /** Takes over a stateDict() before the first step. Where no loss is scaled, or none was, nothing happens. */
  loadStateDict(state: Readonly<Record<string, Tensor>>, optimizer: TaskOptimizer): void {
    if (this.#scaler === undefined || state.scaler === undefined) return
    const scaled = 'skip.0' in state && optimizer instanceof Optimizer ? [optimizer] : []
    this.#scaler.loadStateDict(state, scaled)
  }

  /** Around all batches of a step: weights are cast once for all of them. */
  step(body: () => void): void {
    if (this.#low) autocast(false, body)
    else body()
  }

  /** Around the task's own loss or evaluation. */
  forward<T>(body: () => T): T {
    return this.#low ? autocast(this.#low, body) : body()
  }

  /** The loss that backward starts from. */
  scaled(loss: Tensor): Tensor {
    return this.#scaler?.scale(loss) ?? loss
  }

  /**
   * Updates the parameters from gradients that were averaged over the ranks: all ranks find the same overflows in them,
   * so all leave the same steps out. `clip` sees the gradients unscaled.
   */
  update(optimizer: TaskOptimizer, clip: () => void): void {
    if (this.#scaler === undefined) {
      clip()
      optimizer.step()
      return
    }
    if (!(optimizer instanceof Optimizer)) {
      throw new UsageError("precision 'f16' needs an optimizer of optim: sgd or adamw")
    }
    this.#scaler.unscale_(optimizer)
    clip()
    this.#scaler.step(optimizer)
    this.#scaler.update()
  }

  /** The scale and the steps left out so far. WAITS for the device. */
  async lossScale(): Promise<LossScale | undefined> {
    if (this.#scaler === undefined) return undefined
    const [scale, skipped] = [this.#scaler.getScale(), this.#scaler.skippedSteps()]
    return { scale: await scale, skipped: await skipped }
  }

  dispose(): void {
    this.#scaler?.dispose()
  }
}
