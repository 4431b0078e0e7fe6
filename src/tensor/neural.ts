// Operators of neural networks: normalisation, losses, embedding, dropout, attention. Each enqueues
// on the device's current stream, records gradients and returns a new tensor.
import { words } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { Op } from '../native/operators.js'
import { call2, callNumber, optional, result } from './invoke.js'
import type { Tensor } from './tensor.js'

const reductions = ['none', 'mean', 'sum'] as const

export interface CrossEntropyOptions {
  /** Rows with this target count for nothing; default -100. */
  ignoreIndex?: number
  /** Default 'mean', over the rows that count. */
  reduction?: (typeof reductions)[number]
  /** 0..1: how much of the target is spread over all classes. */
  labelSmoothing?: number
}

/**
 * Cross entropy of `logits` (rows, classes) with class numbers `target` (rows,), i64 or i32.
 * Scalar, or (rows,) for reduction 'none'. A target out of range is a UsageError at the next wait.
 */
export function crossEntropy(
  logits: Tensor,
  target: Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  const reduction = reductions.indexOf(options.reduction ?? 'mean')
  if (reduction < 0) {
    throw new UsageError(
      `crossEntropy: reduction ${options.reduction}; use ${reductions.join(', ')}`,
    )
  }
  words[0] = logits.handle
  words[1] = target.handle
  words[2] = options.ignoreIndex ?? -100
  words[3] = reduction
  words[4] = options.labelSmoothing ?? 0
  return result(Op.cross_entropy, 5)
}

/** Normalises the last dimension to mean 0 and variance 1, then weight and bias (features,). */
export function layerNorm(
  x: Tensor,
  weight?: Tensor | null,
  bias?: Tensor | null,
  options: { eps?: number } = {},
): Tensor {
  words[0] = x.handle
  words[1] = optional(weight)
  words[2] = optional(bias)
  words[3] = options.eps ?? 1e-5
  return result(Op.layer_norm, 4)
}

/** Divides the last dimension by its root mean square, then weight (features,). */
export function rmsNorm(x: Tensor, weight?: Tensor | null, options: { eps?: number } = {}): Tensor {
  words[0] = x.handle
  words[1] = optional(weight)
  words[2] = options.eps ?? 1e-6
  return result(Op.rms_norm, 3)
}

/** Rows of `weight` (rows, features) at `indices` (…), i64 or i32 -> (…, features). */
export function embedding(weight: Tensor, indices: Tensor): Tensor {
  return call2(Op.embedding, weight, indices)
}

/** Zeros elements with probability `p` and scales the others by 1 / (1 - p). */
export function dropout(x: Tensor, p = 0.5): Tensor {
  return callNumber(Op.dropout, x, p)
}

/**
 * The same as scaledDotProductAttention over q, k and v in one tensor (batch, length, 3, heads, features), as one
 * projection makes them -> (batch, length, heads, features). Cuts and gathers nothing, also not in the gradient.
 */
export function packedAttention(
  qkv: Tensor,
  options: { causal?: boolean; scale?: number } = {},
): Tensor {
  const scale = options.scale ?? 1 / Math.sqrt(qkv.size(-1))
  words[0] = qkv.handle
  words[1] = options.causal ? 1 : 0
  words[2] = scale
  return result(Op.attention_packed, 3)
}

/**
 * Rotary positions: in x (batch, length, groups, heads, width), pairs of features (i, i + width/2) of the first
 * `groups` groups are turned by the angle of their position; the other groups stay. Tables `cos` and `sin`
 * (positions, width/2), f32.
 */
export function rotary(x: Tensor, cos: Tensor, sin: Tensor, groups: number): Tensor {
  words[0] = x.handle
  words[1] = cos.handle
  words[2] = sin.handle
  words[3] = groups
  return result(Op.rotary, 4)
}

/**
 * softmax(q kᵀ · scale) v over (…, queries, features), (…, keys, features), (…, keys, values).
 * `causal` hides later keys; `scale` is 1 / sqrt(features) by default. Never stores the score
 * matrix.
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: { causal?: boolean; scale?: number } = {},
): Tensor {
  const scale = options.scale ?? 1 / Math.sqrt(q.size(-1))
  words[0] = q.handle
  words[1] = k.handle
  words[2] = v.handle
  words[3] = options.causal ? 1 : 0
  words[4] = scale
  return result(Op.attention, 5)
}
