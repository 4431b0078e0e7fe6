// What `precision` means to one rank's steps: which region the task's code runs in, the loss scale of f16, and which
// steps are left out on the device. The stepper and evaluation ask here at each place that differs.
import { autocast } from '../../autograd/autocast.js'
import { noGrad } from '../../autograd/no-grad.js'
import { UsageError } from '../../native/errors.js'
import { GradScaler } from '../../optim/grad-scaler.js'
import { Optimizer } from '../../optim/optimizer.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { LossScale, Precision } from '../precision.js'
import type { TaskOptimizer } from '../task.js'
import { SkipGuard } from './skip-guard.js'

/** The precision of a replica. */
export class MixedPrecision {
  readonly #low: 'bf16' | 'f16' | undefined
  readonly #scaler: GradScaler | undefined
  readonly #guard: SkipGuard | undefined
  readonly #skips: boolean
  readonly #weights: readonly Tensor[]

  /** `weights`: what is trained. `skips`: steps whose gradients are not finite are left out, as f16 does anyway, and told. */
  constructor(precision: Precision, device: string, skips: boolean, weights: readonly Tensor[]) {
    this.#weights = weights
    this.#skips = skips
    this.#low = precision === 'bf16' || precision === 'f16' ? precision : undefined
    if (precision === 'f16') this.#scaler = new GradScaler({ device })
    else if (skips) this.#guard = new SkipGuard(device)
  }

  /** The scale of f16 and what was skipped, for checkpoints; empty where no step is left out. */
  stateDict(): Record<string, Tensor> {
    if (this.#guard) return { guard: this.#guard.record }
    return this.#scaler?.stateDict() ?? {}
  }

  /** Takes over a stateDict() before the first step. What this run does not have, or had not, is left out. */
  loadStateDict(state: Readonly<Record<string, Tensor>>, optimizer: TaskOptimizer): void {
    const { guard } = state
    if (guard) noGrad(() => void this.#guard?.record.copy_(guard))
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
    return this.#low ? autocast(this.#low, body, { weights: this.#weights }) : body()
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
    this.unscale(optimizer)
    clip()
    this.apply(optimizer)
  }

  /**
   * The first part of update(): looks at the gradients, and unscales them. Returns tensors of which the ranks must take
   * the largest elements before apply(), where each has a part of the gradients alone.
   */
  unscale(optimizer: TaskOptimizer): Tensor[] {
    if (this.#scaler === undefined && this.#guard === undefined) return []
    if (!(optimizer instanceof Optimizer) || !optimizer.skips) {
      const what = this.#scaler ? "precision 'f16'" : "nonFinite: 'skip'"
      throw new UsageError(`${what} needs an optimizer of optim: sgd or adamw`)
    }
    this.#guard?.look(optimizer)
    if (this.#guard) return [this.#guard.record]
    this.#scaler?.unscale_(optimizer)
    return this.#scaler?.overflowState(optimizer) ?? []
  }

  /** The last part of update(): the step, unless it is to be left out. */
  apply(optimizer: TaskOptimizer): void {
    if (!(optimizer instanceof Optimizer)) optimizer.step()
    else if (this.#scaler === undefined) optimizer.step({ skip: this.#guard?.record })
    else {
      this.#scaler.step(optimizer)
      this.#scaler.update()
    }
  }

  /** f32 [found, …] of the latest step, on the device: was it left out? Undefined where nobody asked, or before the first. */
  get found(): Tensor | undefined {
    if (!this.#skips) return undefined
    return this.#guard?.record ?? this.#scaler?.stateDict()['skip.0']
  }

  /** The scale and the steps left out so far; undefined where none can be. WAITS for the device. */
  async lossScale(): Promise<LossScale | undefined> {
    if (this.#guard) return { scale: undefined, skipped: await this.#guard.skipped() }
    if (this.#scaler === undefined) return undefined
    const [scale, skipped] = [this.#scaler.getScale(), this.#scaler.skippedSteps()]
    return { scale: await scale, skipped: await skipped }
  }

  dispose(): void {
    this.#scaler?.dispose()
    this.#guard?.dispose()
  }
}
