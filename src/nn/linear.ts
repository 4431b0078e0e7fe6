// The fully connected layer.
import * as F from '../tensor/operators/functional.js'
import type { Tensor } from '../tensor/tensor.js'
import { type ParameterOptions, parameter, requireSize, uniform } from './init.js'
import { Module } from './module.js'

/** Options of Linear: bias (true), an activation fused with the product, dtype and device. */
export interface LinearOptions extends ParameterOptions {
  bias?: boolean
  /** Applies GELU (tanh form) to the result, fused with the product. */
  gelu?: boolean
}

/**
 * y = x · weightᵀ + bias.
 *
 * Shapes: x (…, inputs) → y (…, outputs); weight (outputs, inputs), bias (outputs,).
 * Starts uniform within 1/√inputs, as PyTorch's Linear does.
 */
export class Linear extends Module {
  weight: Tensor
  bias?: Tensor
  readonly gelu: boolean

  constructor(
    readonly inputs: number,
    readonly outputs: number,
    options: LinearOptions = {},
  ) {
    super()
    requireSize('Linear', 'inputs', inputs)
    requireSize('Linear', 'outputs', outputs)
    const bound = 1 / Math.sqrt(inputs)
    this.weight = parameter(uniform([outputs, inputs], bound, options))
    if (options.bias !== false) this.bias = parameter(uniform([outputs], bound, options))
    this.gelu = options.gelu ?? false
  }

  forward(x: Tensor): Tensor {
    return F.linear(x, this.weight, this.bias, { gelu: this.gelu })
  }
}
