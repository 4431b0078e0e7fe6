// Loss scaling for f16 (Micikevicius et al. 2018), as torch.amp.GradScaler has it: the loss is multiplied by a scale
// so that small gradients survive f16, the gradients are divided by it again, and a step whose gradients overflowed
// is left out. All of it on the device: nothing here waits. Users call it by hand, the trainer's workers for f16.
import { noGrad } from '../autograd/no-grad.js'
import { defaultDevice } from '../fabric/devices.js'
import { activeRates } from '../graph/replay-rates.js'
import { CheckpointError, UsageError } from '../native/errors.js'
import { tensor, zeros } from '../tensor/operators/factory.js'
import { ampUnscale, ampUpdate } from '../tensor/operators/optimizer-steps.js'
import { keep, scope } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import type { Optimizer } from './optimizer.js'
import { requireKnown, requireNumber } from './options.js'

/** Options of GradScaler. */
export interface GradScalerOptions {
  /** Where the scale lies; the optimizers' parameters must lie there. Default: this thread's default device. */
  device?: string
  /** Default 65536. */
  initScale?: number
  /** The scale is multiplied by it after `growthInterval` steps without overflow. Default 2. */
  growthFactor?: number
  /** The scale is multiplied by it after an overflow. Default 0.5. */
  backoffFactor?: number
  /** Default 2000. */
  growthInterval?: number
}

// biome-ignore lint/suspicious/noExplicitAny: any optimizer, whatever its options
type AnyOptimizer = Optimizer<any>

/** What is known of one optimizer's gradients. */
interface Known {
  /** f32 [found, skipped], on the device. */
  record: Tensor
  stage: 'ready' | 'unscaled' | 'stepped'
}

/**
 * A loss scale:
 *
 *     scaler.scale(loss).backward()
 *     scaler.unscale_(optimizer)        // where the gradients are looked at before the step
 *     optim.clipGradNorm(parameters, 1)
 *     scaler.step(optimizer)            // left out on the device where a gradient is not finite
 *     scaler.update()
 *
 * Works in captured steps, after one that ran eagerly. Where several devices hold replicas each has a scaler: average
 * the gradients before unscale_, and all of them find the same.
 */
export class GradScaler {
  readonly #state: Tensor
  readonly #scale: Tensor
  readonly #growth: { growth: number; backoff: number; interval: number }
  readonly #known = new Map<AnyOptimizer, Known>()

  constructor(options: GradScalerOptions = {}) {
    const names = ['device', 'initScale', 'growthFactor', 'backoffFactor', 'growthInterval']
    requireKnown('GradScaler', options, names)
    const { initScale = 65536, growthFactor = 2, backoffFactor = 0.5 } = options
    const { growthInterval = 2000, device = defaultDevice() } = options
    requireNumber('GradScaler: initScale', initScale, { from: 0, above: true })
    requireNumber('GradScaler: growthFactor', growthFactor, { from: 1, above: true })
    requireNumber('GradScaler: backoffFactor', backoffFactor, { from: 0, above: true, below: 1 })
    requireNumber('GradScaler: growthInterval', growthInterval, { from: 1 })
    this.#growth = { growth: growthFactor, backoff: backoffFactor, interval: growthInterval }
    this.#state = keep(tensor([initScale, 0, 0], { dtype: 'f32', device }))
    this.#scale = keep(scope(() => this.#state.narrow(0, 0, 1).reshape([])))
  }

  /** `loss` times the scale, with history. Enqueues and returns. */
  scale(loss: Tensor): Tensor {
    return loss.mul(this.#scale)
  }

  /**
   * Divides the gradients of the optimizer's parameters by the scale, in place, and notes on the device whether one is
   * not finite. step() does it where nobody did. Enqueues and returns. Once a step: UsageError.
   */
  unscale_(optimizer: AnyOptimizer): void {
    const known = this.#of(optimizer)
    if (known.stage !== 'ready') {
      throw new UsageError(`unscale_: this optimizer is ${known.stage} since the last update()`)
    }
    const grads = optimizer.parameters().flatMap((p) => (p.requiresGrad ? (p.grad ?? []) : []))
    noGrad(() => ampUnscale(grads, this.#state, known.record))
    known.stage = 'unscaled'
  }

  /**
   * Unscales where that was not done, and steps; the step changes nothing, on the device, where a gradient is not
   * finite. Enqueues and returns. Once a step: UsageError.
   */
  step(optimizer: AnyOptimizer): void {
    const known = this.#of(optimizer)
    if (known.stage === 'stepped') {
      throw new UsageError('step: this optimizer is stepped since the last update()')
    }
    if (known.stage === 'ready') this.unscale_(optimizer)
    optimizer.step({ skip: known.record })
    known.stage = 'stepped'
  }

  /**
   * Where every rank has a part of the gradients: two tensors, after unscale_, of whose elements all ranks must take the
   * largest before step(), so that an overflow in one part leaves the step out everywhere. They stay the scaler's.
   */
  overflowState(optimizer: AnyOptimizer): Tensor[] {
    return [this.#state, this.#of(optimizer).record]
  }

  /** Lets the scale shrink where an overflow was found, or grow. Call it after every step. Enqueues and returns. */
  update(): void {
    noGrad(() => ampUpdate(this.#state, this.#growth))
    for (const known of this.#known.values()) known.stage = 'ready'
  }

  /** The scale. WAITS for the device. */
  async getScale(): Promise<number> {
    return Number((await this.#state.data())[0])
  }

  /** Steps that were left out, over all optimizers. WAITS for the device. */
  async skippedSteps(): Promise<number> {
    const records = [...this.#known.values()].map((known) => known.record.data())
    return (await Promise.all(records)).reduce((sum, values) => sum + Number(values[1]), 0)
  }

  /** `scaler` and, for each optimizer in the order of its first step, `skip.0` … */
  stateDict(): Record<string, Tensor> {
    const records = [...this.#known.values()].map(({ record }, i) => [`skip.${i}`, record])
    return { scaler: this.#state, ...Object.fromEntries(records) }
  }

  /**
   * Takes the values of a stateDict(), for the same optimizers in the same order. Throws CheckpointError naming what is
   * missing or left over.
   */
  loadStateDict(state: Readonly<Record<string, Tensor>>, optimizers: AnyOptimizer[]): void {
    for (const optimizer of optimizers) this.#of(optimizer)
    const own = this.stateDict()
    const differ = [...Object.keys(own), ...Object.keys(state)].filter(
      (name) => !(name in own && name in state),
    )
    if (differ.length > 0) {
      throw new CheckpointError(`GradScaler: the state of other optimizers: ${differ.join(', ')}`)
    }
    noGrad(() => {
      for (const [name, mine] of Object.entries(own)) mine.copy_(state[name] as Tensor)
    })
  }

  /** Frees the scaler's own tensors. Idempotent. */
  dispose(): void {
    for (const { record } of this.#known.values()) record.dispose()
    this.#known.clear()
    this.#scale.dispose()
    this.#state.dispose()
  }

  #of(optimizer: AnyOptimizer): Known {
    const found = this.#known.get(optimizer)
    if (found) return found
    if (!optimizer.skips) {
      throw new UsageError('GradScaler: this optimizer cannot leave a step out on the device')
    }
    if (activeRates() !== undefined) {
      throw new UsageError('GradScaler: take a step before the capture, so that its state exists')
    }
    const record = keep(zeros([2], { device: this.#state.device }))
    const known: Known = { record, stage: 'ready' }
    this.#known.set(optimizer, known)
    return known
  }
}
