// Gradient clipping by the norm of all gradients together.
import { clipGradNorm as clip } from '../tensor/optimizer-steps.js'
import type { Tensor } from '../tensor/tensor.js'

/**
 * Scales all gradients by min(1, maxNorm / norm), in place, where norm is the Euclidean norm of all of them.
 * Enqueues and returns; the caller owns the result.
 * @returns the norm before scaling, one f32 value on the parameters' device
 */
export function clipGradNorm(parameters: Tensor[], maxNorm: number): Tensor {
  return clip(
    parameters.flatMap((p) => p.grad ?? []),
    maxNorm,
  )
}
