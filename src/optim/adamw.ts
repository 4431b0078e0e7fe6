// AdamW: Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019).
import { activeRates } from '../graph/replay-rates.js'
import { UsageError } from '../native/errors.js'
import { zerosLike } from '../tensor/operators/factory.js'
import { adamwStep } from '../tensor/operators/optimizer-steps.js'
import { keep } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import { Optimizer, ownCopy, type Parameters, type Updates } from './optimizer.js'
import { requireNumber } from './options.js'
import { type OptimizerState, parameterStates } from './state.js'

/** Options of AdamW; a group of parameters may have its own. */
export interface AdamWOptions {
  lr: number
  /** Default [0.9, 0.999]. */
  betas?: [number, number]
  /** Default 1e-8. */
  eps?: number
  /** Default 0.01. */
  weightDecay?: number
}

interface Moments {
  first: Tensor
  second: Tensor
  steps: number
}

/**
 * Adam with decoupled weight decay. One fused kernel updates all parameters of a group that took as many steps; moments
 * are f32 and lie on the parameters' device. A step enqueues and never waits.
 */
export class AdamW extends Optimizer<AdamWOptions> {
  override readonly skips = true
  readonly #moments: (Moments | undefined)[][]

  constructor(parameters: Parameters<AdamWOptions>, options: AdamWOptions) {
    super(parameters, options, 'adamw', ['lr', 'betas', 'eps', 'weightDecay'])
    this.#moments = this.groups.map(() => [])
  }

  protected override check(
    { betas = [0, 0], eps = 0, weightDecay = 0 }: AdamWOptions,
    where: string,
  ): void {
    if (!Array.isArray(betas) || betas.length !== 2) {
      throw new UsageError(`${where} betas must be two numbers, they are ${String(betas)}`)
    }
    for (const beta of betas) requireNumber(`${where} betas`, beta, { from: 0, below: 1 })
    requireNumber(`${where} eps`, eps, { from: 0 })
    requireNumber(`${where} weightDecay`, weightDecay, { from: 0 })
  }

  protected update(group: number, { params, grads, indices, skip }: Updates): void {
    const {
      lr = 0,
      betas = [0.9, 0.999],
      eps = 1e-8,
      weightDecay = 0.01,
    } = this.groups[group]?.options ?? {}
    const options = { lr, beta1: betas[0], beta2: betas[1], eps, weightDecay }
    const moments = this.#moments[group] ?? []
    const rates = activeRates()
    if (rates !== undefined && indices.some((p) => moments[p] === undefined)) {
      throw new UsageError('adamw: take a step before the capture, so that the moments exist')
    }
    // Parameters that skipped a step have a count of their own: one launch for each count.
    const byCount = new Map<number, number[]>()
    for (const [i, p] of indices.entries()) {
      const own = (moments[p] ??= {
        first: keep(zerosLike(params[i] as Tensor, { dtype: 'f32' })),
        second: keep(zerosLike(params[i] as Tensor, { dtype: 'f32' })),
        steps: 0,
      })
      own.steps += 1
      const list = byCount.get(own.steps)
      if (list) list.push(i)
      else byCount.set(own.steps, [i])
    }
    for (const [step, chosen] of byCount) {
      const state = chosen.map((i) => moments[indices[i] as number] as Moments)
      const calls = adamwStep(
        chosen.map((i) => params[i] as Tensor),
        chosen.map((i) => grads[i] as Tensor),
        state.map((m) => m.first),
        state.map((m) => m.second),
        { ...options, step, skip },
      )
      if (rates === undefined) continue
      // The capture ran nothing: each replay counts, and uses the learning rate of its time.
      for (const m of state) m.steps -= 1
      rates.add((params[0] as Tensor).device, () => {
        for (const m of state) m.steps += 1
        const now = [this.groups[group]?.options.lr ?? 0, state[0]?.steps ?? 0]
        return Array.from({ length: calls }, () => now).flat()
      })
    }
  }

  stateDict(): OptimizerState {
    const tensors: Record<string, Tensor> = {}
    const counts: Record<string, number> = {}
    for (const [g, list] of this.#moments.entries()) {
      for (const [p, m] of list.entries()) {
        if (!m) continue
        tensors[`${g}.${p}.first`] = m.first
        tensors[`${g}.${p}.second`] = m.second
        counts[`${g}.${p}.steps`] = m.steps
      }
    }
    return { kind: 'adamw', steps: this.steps, counts, tensors }
  }

  loadStateDict(state: OptimizerState): void {
    const names = { tensors: ['first', 'second'], counts: ['steps'] }
    const states = parameterStates(state, 'adamw', this.groups, names)
    const loaded = states.map(({ group, parameter, tensors, counts }) => {
      const like = this.groups[group]?.params[parameter] as Tensor
      const moments: Moments = {
        first: ownCopy(tensors.first as Tensor, like),
        second: ownCopy(tensors.second as Tensor, like),
        steps: counts.steps as number,
      }
      return { group, parameter, moments }
    })
    this.dispose()
    this.steps = state.steps
    for (const { group, parameter, moments } of loaded) {
      ;(this.#moments[group] as (Moments | undefined)[])[parameter] = moments
    }
  }

  dispose(): void {
    for (const list of this.#moments) {
      for (const m of list.splice(0)) {
        m?.first.dispose()
        m?.second.dispose()
      }
    }
  }
}

/** AdamW over `parameters` (tensors, or groups with options of their own). */
export function adamw(parameters: Parameters<AdamWOptions>, options: AdamWOptions): AdamW {
  return new AdamW(parameters, options)
}
