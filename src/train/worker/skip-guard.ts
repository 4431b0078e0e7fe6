// `nonFinite: 'skip'` of one rank without a loss scale: notes on the device whether a gradient is not finite, and lets
// the optimizer leave the step out there. MixedPrecision makes one; f16 runs have their GradScaler for it.
import { noGrad } from '../../autograd/no-grad.js'
import type { Optimizer } from '../../optim/optimizer.js'
import { tensor, zeros } from '../../tensor/operators/factory.js'
import { ampUnscale } from '../../tensor/operators/optimizer-steps.js'
import { keep } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'

/** Looks at the gradients of one optimizer. Nothing here waits but `skipped`. */
export class SkipGuard {
  /** f32 [found in the latest step, steps left out], on the device. */
  readonly record: Tensor
  /** A loss scale of 1, for the kernel that looks and unscales in one pass: gradients keep their bits. */
  readonly #scale: Tensor

  constructor(device: string) {
    this.record = keep(zeros([2], { device }))
    this.#scale = keep(tensor([1, 0, 0], { dtype: 'f32', device }))
  }

  /** Looks at the gradients. A step that is given `record` as its `skip` changes nothing then where one is not finite. */
  look(optimizer: Optimizer): void {
    const grads = optimizer.parameters().flatMap((p) => (p.requiresGrad ? (p.grad ?? []) : []))
    noGrad(() => ampUnscale(grads, this.#scale, this.record))
  }

  /** Steps left out so far. WAITS for the device. */
  async skipped(): Promise<number> {
    return Number((await this.record.data())[1])
  }

  dispose(): void {
    this.record.dispose()
    this.#scale.dispose()
  }
}
