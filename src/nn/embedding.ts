// The embedding table.
import * as F from '../tensor/operators/functional.js'
import type { Tensor } from '../tensor/tensor.js'
import {
  normal,
  type ParameterOptions,
  parameter,
  requireNotNegative,
  requireSize,
} from './init.js'
import { Module } from './module.js'

/**
 * Rows of a table by index.
 *
 * Shapes: indices (…) i64 or i32 → (…, width); weight (vocabulary, width), starts normal with `std` (1).
 */
export class Embedding extends Module {
  weight: Tensor

  constructor(
    readonly vocabulary: number,
    readonly width: number,
    options: ParameterOptions & { std?: number } = {},
  ) {
    super()
    requireSize('Embedding', 'vocabulary', vocabulary)
    requireSize('Embedding', 'width', width)
    const { std = 1, ...rest } = options
    requireNotNegative('Embedding', 'std', std)
    this.weight = parameter(normal([vocabulary, width], std, rest))
  }

  forward(indices: Tensor): Tensor {
    return F.embedding(this.weight, indices)
  }
}
