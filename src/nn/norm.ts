// Normalisation over the last dimension: LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019).
import { ones, zeros } from '../tensor/operators/factory.js'
import * as F from '../tensor/operators/functional.js'
import type { Tensor } from '../tensor/tensor.js'
import { type ParameterOptions, parameter, requireNotNegative, requireSize } from './init.js'
import { Module } from './module.js'

/** Shapes: x (…, width) → the same; weight and bias (width,). */
export class LayerNorm extends Module {
  weight: Tensor
  bias: Tensor
  readonly eps: number

  constructor(
    readonly width: number,
    options: ParameterOptions & { eps?: number } = {},
  ) {
    super()
    requireSize('LayerNorm', 'width', width)
    const { eps = 1e-5, ...rest } = options
    this.eps = requireNotNegative('LayerNorm', 'eps', eps)
    this.weight = parameter(ones([width], rest))
    this.bias = parameter(zeros([width], rest))
  }

  forward(x: Tensor): Tensor {
    return F.layerNorm(x, this.weight, this.bias, { eps: this.eps })
  }

  /** [residual + x, its norm], fused: F.addLayerNorm. */
  addForward(x: Tensor, residual: Tensor): [sum: Tensor, norm: Tensor] {
    return F.addLayerNorm(x, residual, this.weight, this.bias, { eps: this.eps })
  }
}

/** Shapes: x (…, width) → the same; weight (width,). */
export class RMSNorm extends Module {
  weight: Tensor
  readonly eps: number

  constructor(
    readonly width: number,
    options: ParameterOptions & { eps?: number } = {},
  ) {
    super()
    requireSize('RMSNorm', 'width', width)
    const { eps = 1e-6, ...rest } = options
    this.eps = requireNotNegative('RMSNorm', 'eps', eps)
    this.weight = parameter(ones([width], rest))
  }

  forward(x: Tensor): Tensor {
    return F.rmsNorm(x, this.weight, { eps: this.eps })
  }

  /** [residual + x, its norm], fused: F.addRmsNorm. */
  addForward(x: Tensor, residual: Tensor): [sum: Tensor, norm: Tensor] {
    return F.addRmsNorm(x, residual, this.weight, { eps: this.eps })
  }
}
