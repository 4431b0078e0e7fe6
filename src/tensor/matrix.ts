// Matrix products and softmax. Each enqueues on the device's current stream and returns a new
// tensor.
import { words } from '../native/addon.js'
import { Op } from '../native/operators.js'
import { call2, callNumber, optional, result } from './invoke.js'
import type { Tensor } from './tensor.js'

/** (…, n, k) · (…, k, m) -> (…, n, m); vectors as in NumPy, batch dimensions broadcast. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  return call2(Op.matmul, a, b)
}

/**
 * x (…, in) · weightᵀ + bias -> (…, out); weight (out, in), bias (out,). `gelu` is applied on top,
 * fused.
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  options: { gelu?: boolean } = {},
): Tensor {
  words[0] = x.handle
  words[1] = weight.handle
  words[2] = optional(bias)
  words[3] = options.gelu ? 1 : 0
  return result(Op.linear, 4)
}

/** exp(a) / sum(exp(a)) along `dim`, without overflow. */
export function softmax(a: Tensor, dim = -1): Tensor {
  return callNumber(Op.softmax, a, dim)
}

/** log(softmax(a)) along `dim`, computed at once. */
export function logSoftmax(a: Tensor, dim = -1): Tensor {
  return callNumber(Op.log_softmax, a, dim)
}
