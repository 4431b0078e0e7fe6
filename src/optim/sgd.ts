// Stochastic gradient descent, with momentum as PyTorch's SGD has it.
import { activeRates } from '../graph/replay-rates.js'
import { UsageError } from '../native/errors.js'
import { zerosLike } from '../tensor/operators/factory.js'
import { sgdStep } from '../tensor/operators/optimizer-steps.js'
import { keep } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import { Optimizer, ownCopy, type Parameters, type Updates } from './optimizer.js'
import { requireNumber } from './options.js'
import { type OptimizerState, parameterStates } from './state.js'

/** Options of SGD; a group of parameters may have its own. */
export interface SgdOptions {
  lr: number
  /** Default 0. */
  momentum?: number
  /** Added to the gradient times the parameter. Default 0. */
  weightDecay?: number
  /** Default 0. */
  dampening?: number
  /** Default false. */
  nesterov?: boolean
}

/** Stochastic gradient descent with momentum, dampening, Nesterov momentum and weight decay. A step enqueues and never waits. */
export class SGD extends Optimizer<SgdOptions> {
  override readonly skips = true
  readonly #momentum: (Tensor | undefined)[][]

  constructor(parameters: Parameters<SgdOptions>, options: SgdOptions) {
    const known = ['lr', 'momentum', 'weightDecay', 'dampening', 'nesterov'] as const
    super(parameters, options, 'sgd', known)
    this.#momentum = this.groups.map(() => [])
  }

  protected override check(options: SgdOptions, where: string): void {
    const { momentum = 0, weightDecay = 0, dampening = 0, nesterov = false } = options
    requireNumber(`${where} momentum`, momentum, { from: 0 })
    requireNumber(`${where} weightDecay`, weightDecay, { from: 0 })
    requireNumber(`${where} dampening`, dampening, { from: 0, to: 1 })
    if (nesterov && (momentum === 0 || dampening !== 0)) {
      throw new UsageError(`${where} nesterov needs a momentum above 0 and no dampening`)
    }
  }

  protected update(group: number, { params, grads, indices, skip }: Updates): void {
    const {
      lr = 0,
      momentum = 0,
      weightDecay = 0,
      dampening = 0,
      nesterov = false,
    } = this.groups[group]?.options ?? {}
    if (skip !== undefined && dampening !== 0) {
      // A skipped first step would leave the second one dampened.
      throw new UsageError('sgd: dampening and loss scaling do not go together')
    }
    const options = { lr, momentum, weightDecay, dampening, nesterov, skip }
    const buffers = this.#momentum[group] ?? []
    const replayed = (calls: number) => {
      activeRates()?.add((params[0] as Tensor).device, () => {
        const now = [this.groups[group]?.options.lr ?? 0, 0]
        return Array.from({ length: calls }, () => now).flat()
      })
    }
    if (momentum === 0) {
      replayed(sgdStep(params, grads, [], { ...options, firstStep: false }))
      return
    }
    // A parameter's first gradient becomes its momentum; later ones are blended in.
    for (const first of [true, false]) {
      const chosen = indices.flatMap((p, i) => ((buffers[p] === undefined) === first ? [i] : []))
      if (chosen.length === 0) continue
      const own = chosen.map((i) => {
        const p = indices[i] as number
        buffers[p] ??= keep(zerosLike(params[i] as Tensor, { dtype: 'f32' }))
        return buffers[p] as Tensor
      })
      const pick = (list: Tensor[]) => chosen.map((i) => list[i] as Tensor)
      replayed(sgdStep(pick(params), pick(grads), own, { ...options, firstStep: first }))
      if (first && chosen.length === indices.length) break
    }
  }

  stateDict(): OptimizerState {
    const tensors: Record<string, Tensor> = {}
    for (const [g, buffers] of this.#momentum.entries()) {
      for (const [p, buffer] of buffers.entries()) {
        if (buffer) tensors[`${g}.${p}.momentum`] = buffer
      }
    }
    return { kind: 'sgd', steps: this.steps, counts: {}, tensors }
  }

  loadStateDict(state: OptimizerState): void {
    const names = { tensors: ['momentum'], counts: [] }
    const states = parameterStates(state, 'sgd', this.groups, names)
    const loaded = states.map(({ group, parameter, tensors }) => {
      const like = this.groups[group]?.params[parameter] as Tensor
      return { group, parameter, momentum: ownCopy(tensors.momentum as Tensor, like) }
    })
    this.dispose()
    this.steps = state.steps
    for (const { group, parameter, momentum } of loaded) {
      ;(this.#momentum[group] as (Tensor | undefined)[])[parameter] = momentum
    }
  }

  dispose(): void {
    for (const buffers of this.#momentum) for (const b of buffers.splice(0)) b?.dispose()
  }
}

/** SGD over `parameters` (tensors, or groups with options of their own). */
export function sgd(parameters: Parameters<SgdOptions>, options: SgdOptions): SGD {
  return new SGD(parameters, options)
}
