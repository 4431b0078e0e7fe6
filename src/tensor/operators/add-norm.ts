// A residual stream and a branch added and normed at once. Functions of F.
import { words } from '../../native/addon.js'
import { Op } from '../../native/operators.js'
import type { Tensor } from '../tensor.js'
import { handleOf, numberOf, optional, pair } from './invoke.js'

/**
 * [residual + x, layerNorm(residual + x, weight, bias)] for x and residual (…, features) of one shape, in one kernel; so
 * is the gradient, which adds what reaches the sum. The bits are those of `residual.add(x)` and `layerNorm` behind it. In
 * an autocast region the sum is f32 and the norm has the region's dtype. Shapes that differ are a ShapeError.
 */
export function addLayerNorm(
  x: Tensor,
  residual: Tensor,
  weight?: Tensor | null,
  bias?: Tensor | null,
  options: { eps?: number } = {},
): [sum: Tensor, norm: Tensor] {
  words[0] = handleOf(x)
  words[1] = handleOf(residual)
  words[2] = optional(weight)
  words[3] = optional(bias)
  words[4] = numberOf(options.eps ?? 1e-5)
  const [norm, sum] = pair(Op.add_layer_norm, 5)
  return [sum, norm]
}

/** [residual + x, rmsNorm(residual + x, weight)] as addLayerNorm does it. */
export function addRmsNorm(
  x: Tensor,
  residual: Tensor,
  weight?: Tensor | null,
  options: { eps?: number } = {},
): [sum: Tensor, norm: Tensor] {
  words[0] = handleOf(x)
  words[1] = handleOf(residual)
  words[2] = optional(weight)
  words[3] = numberOf(options.eps ?? 1e-6)
  const [norm, sum] = pair(Op.add_rms_norm, 4)
  return [sum, norm]
}
