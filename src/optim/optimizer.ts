// What every optimizer shares: parameter groups, the learning rate, gradients taken and cleared. Used by the
// trainer through step(), zeroGrad() and lr; SGD and AdamW add the fused update.
import { activeRates } from '../graph/replay-rates.js'
import { UsageError } from '../native/errors.js'
import type { Tensor } from '../tensor/tensor.js'

/** Parameters with options of their own; what is absent comes from the optimizer's options. */
export interface ParameterGroup<O> {
  params: Tensor[]
  options?: Partial<O>
}
export type Parameters<O> = Tensor[] | ParameterGroup<O>[]

/** Parameters of one group that have a gradient now, with it. */
export interface Updates {
  params: Tensor[]
  grads: Tensor[]
  indices: number[]
}

export abstract class Optimizer<O extends { lr: number } = { lr: number }> {
  readonly groups: { params: Tensor[]; options: O }[]
  /** Learning rates before any schedule, one a group. */
  readonly baseRates: number[]
  /** Steps taken. */
  steps = 0

  constructor(parameters: Parameters<O>, options: O) {
    const groups = isTensorList(parameters) ? [{ params: parameters }] : parameters
    this.groups = groups.map((g) => ({
      params: g.params,
      options: { ...options, ...('options' in g ? g.options : {}) },
    }))
    if (this.groups.every((g) => g.params.length === 0)) {
      throw new UsageError('an optimizer needs at least one parameter')
    }
    for (const [g, { params, options: own }] of this.groups.entries()) {
      if (!(own.lr >= 0)) throw new UsageError(`group ${g}: lr must be 0 or more, it is ${own.lr}`)
      for (const [i, p] of params.entries()) {
        if (!p.requiresGrad || !p.isLeaf) {
          throw new UsageError(`group ${g}: parameter ${i} is not a leaf that requires gradients`)
        }
      }
    }
    this.baseRates = this.groups.map((g) => g.options.lr)
  }

  /** The first group's learning rate; setting it sets every group's, keeping their ratios. */
  get lr(): number {
    return this.groups[0]?.options.lr ?? 0
  }
  set lr(rate: number) {
    const base = this.baseRates[0] ?? 0
    for (const [g, group] of this.groups.entries()) {
      group.options.lr = base === 0 ? rate : ((this.baseRates[g] ?? 0) * rate) / base
    }
  }

  /** All parameters, group after group. */
  parameters(): Tensor[] {
    return this.groups.flatMap((g) => g.params)
  }

  /** Removes all gradients. */
  zeroGrad(): void {
    for (const p of this.parameters()) p.zeroGrad()
  }

  /**
   * Updates every parameter that has a gradient, in place, in one fused launch a group. Enqueues and
   * returns. Inside a capture nothing runs or counts yet: each replay counts a step.
   */
  step(): void {
    const rates = activeRates()
    if (rates === undefined) this.steps += 1
    else rates.onReplay(() => void (this.steps += 1))
    for (let g = 0; g < this.groups.length; g++) {
      const updates = this.#updates(g)
      if (updates.params.length > 0) this.update(g, updates)
    }
  }

  /** Tensors of the optimizer's own, by name, for saving. */
  abstract stateDict(): Record<string, Tensor>
  /** Frees the optimizer's own tensors. Idempotent. */
  abstract dispose(): void
  protected abstract update(group: number, updates: Updates): void

  #updates(group: number): Updates {
    const out: Updates = { params: [], grads: [], indices: [] }
    for (const [i, p] of (this.groups[group]?.params ?? []).entries()) {
      const grad = p.grad
      if (!grad) continue
      out.params.push(p)
      out.grads.push(grad)
      out.indices.push(i)
    }
    return out
  }
}

function isTensorList<O>(parameters: Parameters<O>): parameters is Tensor[] {
  return parameters.length === 0 || !('params' in (parameters[0] as object))
}
