// Gradient clipping by the norm of all gradients together.
import { UsageError } from '../native/errors.js'
import { zeros } from '../tensor/operators/factory.js'
import { clipGradNorm as clip } from '../tensor/operators/optimizer-steps.js'
import type { Tensor } from '../tensor/tensor.js'
import { requireNumber } from './options.js'

/**
 * Scales all gradients of parameters that require them by min(1, maxNorm / norm), in place, where norm is the
 * Euclidean norm of all of them. Enqueues and returns; the caller owns the result.
 * @returns the norm before scaling, one f32 value on the parameters' device; 0 where no parameter has a gradient
 */
export function clipGradNorm(parameters: Tensor[], maxNorm: number): Tensor {
  requireNumber('clipGradNorm: maxNorm', maxNorm, { from: 0, above: true })
  const first = Array.isArray(parameters) ? parameters[0] : undefined
  if (first === undefined) throw new UsageError('clipGradNorm takes a list of parameters')
  const grads = parameters.flatMap((p) => (p.requiresGrad ? (p.grad ?? []) : []))
  return grads.length > 0 ? clip(grads, maxNorm) : zeros([], { device: first.device })
}
