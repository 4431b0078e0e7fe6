// What every optimizer shares: parameter groups, the learning rate, gradients taken and cleared. Used by the
// trainer through step(), zeroGrad() and lr; SGD and AdamW add the fused update.
import { noGrad } from '../autograd/no-grad.js'
import { activeRates } from '../graph/replay-rates.js'
import { UsageError } from '../native/errors.js'
import { zerosLike } from '../tensor/operators/factory.js'
import { keep } from '../tensor/scope/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { requireKnown, requireNumber } from './options.js'
import type { OptimizerState } from './state.js'

/** Parameters with options of their own; what is absent comes from the optimizer's options. */
export interface ParameterGroup<O> {
  params: Tensor[]
  options?: Partial<O>
}
/** What an optimizer is given: parameters, or groups of them with options of their own. */
export type Parameters<O> = Tensor[] | ParameterGroup<O>[]

/** Parameters of one group that require gradients and have one now, with it. */
export interface Updates {
  params: Tensor[]
  grads: Tensor[]
  indices: number[]
  /** See {@link Optimizer.step}. */
  skip: Tensor | undefined
}

/** What a step may be told. */
export interface StepOptions {
  skip?: Tensor | undefined
}

/**
 * What all optimizers have: groups of parameters, rates for schedules, gradients dropped, state saved and taken. A step enqueues on the
 * parameters' devices and never waits; parameters without a gradient are left out.
 */
export abstract class Optimizer<O extends { lr: number } = { lr: number }> {
  readonly groups: { params: Tensor[]; options: O }[]
  /** Learning rates before any schedule, one a group. */
  readonly baseRates: number[]
  /** Steps taken. */
  steps = 0
  /** Can leave a step out on the device, as loss scaling asks. */
  readonly skips: boolean = false

  /**
   * `parameters` are leaves; frozen ones are left alone until they require gradients. `name` is the optimizer's, for
   * messages; options are refused that are not among `known`, where it is given.
   */
  constructor(
    parameters: Parameters<O>,
    options: O,
    name = 'optimizer',
    known?: readonly (keyof O)[],
  ) {
    if (!Array.isArray(parameters)) {
      throw new UsageError(`${name} takes a list of parameters, or of groups { params, options }`)
    }
    const groups = isTensorList(parameters) ? [{ params: parameters }] : parameters
    this.groups = groups.map((g) => ({
      params: g.params,
      options: { ...options, ...('options' in g ? g.options : {}) },
    }))
    if (this.groups.every((g) => g.params.length === 0)) {
      throw new UsageError('an optimizer needs at least one parameter')
    }
    for (const [g, { options: own }] of this.groups.entries()) {
      if (known) requireKnown(`${name}, group ${g}:`, own, known as readonly string[])
      requireNumber(`${name}, group ${g}: lr`, own.lr, { from: 0 })
      this.check(own, `${name}, group ${g}:`)
    }
    this.baseRates = this.groups.map((g) => g.options.lr)
    requireLeaves(this.groups, name)
  }

  /**
   * The learning rate of the first group that was made with one above 0. Setting it sets every group's, in the ratios
   * that they were made with: a group made with 0 stays at 0, unless all were.
   */
  get lr(): number {
    return this.groups[this.#leading]?.options.lr ?? 0
  }
  /** Sets the rate of the leading group; the others keep their ratios to it. */
  set lr(rate: number) {
    requireNumber('lr', rate, { from: 0 })
    const base = this.baseRates[this.#leading] ?? 0
    for (const [g, group] of this.groups.entries()) {
      group.options.lr = base === 0 ? rate : ((this.baseRates[g] ?? 0) / base) * rate
    }
  }
  get #leading(): number {
    return Math.max(
      0,
      this.baseRates.findIndex((rate) => rate > 0),
    )
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
   * Updates every parameter that requires gradients and has one, in place, in one fused launch a group. Enqueues and
   * returns. Inside a capture nothing runs or counts yet: each replay counts a step.
   *
   * `skip` is for loss scaling (GradScaler passes it): two f32 on the device, the first of which leaves the step out
   * when it is not 0 there and then. `steps` counts such steps too, the bias correction of AdamW does not.
   */
  step({ skip }: StepOptions = {}): void {
    if (skip !== undefined && !this.skips) {
      throw new UsageError(
        'this optimizer cannot leave a step out on the device, as loss scaling asks',
      )
    }
    const rates = activeRates()
    if (rates === undefined) this.steps += 1
    else rates.onReplay(() => void (this.steps += 1))
    for (let g = 0; g < this.groups.length; g++) {
      const updates = this.#updates(g)
      if (updates.params.length > 0) this.update(g, { ...updates, skip })
    }
  }

  /** State to save: the optimizer's own tensors, which stay its own, and its counts. Not its options. */
  abstract stateDict(): OptimizerState
  /**
   * Takes over the state of an optimizer of the same kind over parameters of the same shapes, by value. Options, the
   * learning rate among them, stay. Checks everything first: when it throws, nothing has changed.
   * @throws UsageError  another kind, or state that it does not keep
   * @throws ShapeError  a tensor has not its parameter's shape
   */
  abstract loadStateDict(state: OptimizerState): void
  /** Frees the optimizer's own tensors. Idempotent. */
  abstract dispose(): void
  /** Updates the parameters of one group that have gradients; called by step(). */
  protected abstract update(group: number, updates: Updates): void
  /** Throws UsageError, its text beginning with `where`, when an option of a group is out of its range. */
  protected check(_options: O, _where: string): void {}

  #updates(group: number): Omit<Updates, 'skip'> {
    const out: Omit<Updates, 'skip'> = { params: [], grads: [], indices: [] }
    for (const [i, p] of (this.groups[group]?.params ?? []).entries()) {
      const grad = p.grad
      if (!grad || !p.requiresGrad) continue // frozen after its last gradient
      out.params.push(p)
      out.grads.push(grad)
      out.indices.push(i)
    }
    return out
  }
}

/** An f32 copy of `value` on the device of `like`, the optimizer's own. */
export function ownCopy(value: Tensor, like: Tensor): Tensor {
  return noGrad(() => {
    const copy = keep(zerosLike(like, { dtype: 'f32' }))
    copy.copy_(value)
    return copy
  })
}

function isTensorList<O>(parameters: Parameters<O>): parameters is Tensor[] {
  return parameters.length === 0 || !('params' in (parameters[0] as object))
}

/** Throws UsageError unless all are leaves, each named once, at least one of which requires gradients. */
function requireLeaves(groups: readonly { params: readonly Tensor[] }[], name: string): void {
  const seen = new Set<Tensor>()
  for (const [g, { params }] of groups.entries()) {
    for (const [i, p] of params.entries()) {
      const where = `${name}, group ${g}: parameter ${i}`
      if (!(p instanceof Tensor)) throw new UsageError(`${where} is no Tensor`)
      if (!p.isLeaf) throw new UsageError(`${where} is not a leaf: an operator made it`)
      if (seen.has(p)) throw new UsageError(`${where} was given twice`)
      seen.add(p)
    }
  }
  if ([...seen].some((p) => p.requiresGrad)) return
  throw new UsageError(
    `${name}: all ${seen.size} parameters are frozen; call requiresGrad_() on those to train`,
  )
}
