// Linear with cross entropy, without the logits of all rows. A function of F.
import { words } from '../../native/addon.js'
import { Op } from '../../native/operators.js'
import type { Tensor } from '../tensor.js'
import { choice, handleOf, numberOf, optional, result } from './invoke.js'

/** What linear with cross entropy may be told. */
export interface LinearCrossEntropyOptions {
  /** (classes,), of the dtype of x. */
  bias?: Tensor | null
  /** Rows with this target count for nothing. Default -100. */
  ignoreIndex?: number
  /** Default 'mean', over the rows that count. */
  reduction?: 'none' | 'mean' | 'sum'
  /** How much of the target is spread over all classes, 0..1. Default 0. */
  labelSmoothing?: number
  /** Rows whose logits exist at a time. Default 0: as many as fit 1 GiB on a GPU, 64 MiB on a host device. */
  chunkRows?: number
}

/**
 * crossEntropy(linear(x, weight, bias), target) for x (…, in), weight (classes, in) and target (…), i64 or i32, without
 * ever storing the logits of all rows, or their gradients. f32 scalar, or of target's shape for reduction 'none'. While
 * gradients are recorded 'mean' and 'sum' compute them at once, chunk by chunk, and `backward()` only scales; 'none'
 * computes the chunks again. In an autocast region products take the region's dtype, and the weight's gradient is summed
 * over chunks in f32. A target out of range is a UsageError at the next wait; shapes that do not agree are a ShapeError.
 */
export function linearCrossEntropy(
  x: Tensor,
  weight: Tensor,
  target: Tensor,
  options: LinearCrossEntropyOptions = {},
): Tensor {
  const reduction = choice('linearCrossEntropy', 'reduction', options.reduction ?? 'mean', [
    'none',
    'mean',
    'sum',
  ])
  words[0] = handleOf(x)
  words[1] = handleOf(weight)
  words[2] = handleOf(target)
  words[3] = optional(options.bias)
  words[4] = numberOf(options.ignoreIndex ?? -100)
  words[5] = reduction
  words[6] = numberOf(options.labelSmoothing ?? 0)
  words[7] = numberOf(options.chunkRows ?? 0)
  return result(Op.linear_cross_entropy, 8)
}
