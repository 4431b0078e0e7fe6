// A residual stream and a branch added and normed: on distributed tensors an addition and the norm behind it, each with its
// own rule.
import type { DistributedTensor } from '../distributed-tensor.js'
import { distributedLayerNorm, distributedRmsNorm } from './rows.js'

/** [residual + x, layerNorm(residual + x, weight, bias)]; placed as add and layerNorm place them. */
export function distributedAddLayerNorm(
  x: DistributedTensor,
  residual: DistributedTensor,
  weight?: DistributedTensor | null,
  bias?: DistributedTensor | null,
  options: { eps?: number } = {},
): [sum: DistributedTensor, norm: DistributedTensor] {
  const sum = residual.add(x)
  return [sum, distributedLayerNorm(sum, weight, bias, options)]
}

/** [residual + x, rmsNorm(residual + x, weight)]; placed as add and rmsNorm place them. */
export function distributedAddRmsNorm(
  x: DistributedTensor,
  residual: DistributedTensor,
  weight?: DistributedTensor | null,
  options: { eps?: number } = {},
): [sum: DistributedTensor, norm: DistributedTensor] {
  const sum = residual.add(x)
  return [sum, distributedRmsNorm(sum, weight, options)]
}
