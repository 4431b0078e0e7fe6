// The fused optimizer operators over lists of tensors, and those of loss scaling. src/optim calls them; users
// call that. All write in place, on the current stream, and record no gradients.
import { wordCount, words } from '../../native/addon.js'
import { UsageError } from '../../native/errors.js'
import { Op } from '../../native/operators.js'
import type { Tensor } from '../tensor.js'
import { handleOf, optional, result, run, writeTensors } from './invoke.js'

export interface SgdStep {
  lr: number
  momentum: number
  weightDecay: number
  dampening: number
  nesterov: boolean
  /** The momentum buffers hold nothing yet. */
  firstStep: boolean
  /** f32 [found, skipped]: where `found` is not 0 when the step runs, it changes nothing. */
  skip: Tensor | undefined
}

export interface AdamwStep {
  lr: number
  beta1: number
  beta2: number
  eps: number
  weightDecay: number
  /** From 1; skipped ones count. */
  step: number
  /** As in SgdStep; what was skipped does not count for the bias correction. */
  skip: Tensor | undefined
}

/**
 * One SGD step on lists of equal length; `momentumBuffers` is empty without momentum. Returns the
 * operator calls that it took.
 */
export function sgdStep(
  params: readonly Tensor[],
  grads: readonly Tensor[],
  momentumBuffers: readonly Tensor[],
  o: SgdStep,
): number {
  return inPieces(params.length, 3, (from, to) => {
    let at = writeTensors(0, params.slice(from, to))
    at = writeTensors(at, grads.slice(from, to))
    at = writeTensors(at, momentumBuffers.slice(from, to))
    words.set([o.lr, o.momentum, o.weightDecay, o.dampening, +o.nesterov, +o.firstStep], at)
    words[at + 6] = optional(o.skip)
    run(Op.sgd_step, at + 7)
  })
}

/** One AdamW step on lists of equal length. Returns the operator calls that it took. */
export function adamwStep(
  params: readonly Tensor[],
  grads: readonly Tensor[],
  firstMoments: readonly Tensor[],
  secondMoments: readonly Tensor[],
  o: AdamwStep,
): number {
  return inPieces(params.length, 4, (from, to) => {
    let at = writeTensors(0, params.slice(from, to))
    at = writeTensors(at, grads.slice(from, to))
    at = writeTensors(at, firstMoments.slice(from, to))
    at = writeTensors(at, secondMoments.slice(from, to))
    words.set([o.lr, o.beta1, o.beta2, o.eps, o.weightDecay, o.step], at)
    words[at + 6] = optional(o.skip)
    run(Op.adamw_step, at + 7)
  })
}

/**
 * Scales the gradients in place so that their common norm is at most `maxNorm`; returns the norm
 * before (scalar).
 */
export function clipGradNorm(grads: readonly Tensor[], maxNorm: number): Tensor {
  if (grads.length + 32 > wordCount) {
    throw new UsageError(`clipGradNorm takes at most ${wordCount - 32} tensors`)
  }
  const at = writeTensors(0, grads)
  words[at] = maxNorm
  return result(Op.clip_grad_norm, at + 1)
}

/**
 * Divides the gradients by the scale of `scaler` (f32: scale, growth tracker, overflow found) in place, and notes in it
 * and in `record` (f32: found, skipped) whether one of them is not finite.
 */
export function ampUnscale(grads: readonly Tensor[], scaler: Tensor, record: Tensor): void {
  if (grads.length + 32 > wordCount) {
    throw new UsageError(`unscale_ takes at most ${wordCount - 32} tensors`)
  }
  const at = writeTensors(0, grads)
  words[at] = handleOf(scaler)
  words[at + 1] = handleOf(record)
  run(Op.amp_unscale_, at + 2)
}

/** Lets the scale of `scaler` shrink after an overflow, or grow after `interval` steps without one. */
export function ampUpdate(
  scaler: Tensor,
  o: { growth: number; backoff: number; interval: number },
): void {
  words[0] = handleOf(scaler)
  words.set([o.growth, o.backoff, o.interval], 1)
  run(Op.amp_update_, 4)
}

/**
 * Runs `step` over index ranges whose `lists` lists fit in the call buffer together; returns how
 * many.
 */
function inPieces(count: number, lists: number, step: (from: number, to: number) => void): number {
  const most = Math.floor((wordCount - 64) / lists) - 1
  let calls = 0
  for (let from = 0; from < count; from += most, calls++) step(from, Math.min(count, from + most))
  return calls
}
