// Multi-head self-attention (Vaswani et al. 2017), one projection for q, k and v, fused attention.
import { UsageError } from '../native/errors.js'
import * as F from '../tensor/operators/functional.js'
import type { Tensor } from '../tensor/tensor.js'
import { type ParameterOptions, requireSize } from './init.js'
import { Linear } from './linear.js'
import { Module } from './module.js'

/** Options of MultiHeadAttention: causal (false), bias (true), positions, dtype and device. */
export interface AttentionOptions extends ParameterOptions {
  /** Position i sees positions up to i only. */
  causal?: boolean
  bias?: boolean
  /** Applied to q, k and v in one tensor (batch, length, 3, heads, width/heads): rotary positions. */
  position?: (qkv: Tensor) => Tensor
}

/** Shapes: x (batch, length, width) → the same; `heads` divides width. */
export class MultiHeadAttention extends Module {
  qkv: Linear
  projection: Linear
  readonly causal: boolean
  /** Applied to q, k and v before the scores; undefined: nothing is. */
  readonly position: ((qkv: Tensor) => Tensor) | undefined

  constructor(
    readonly width: number,
    readonly heads: number,
    options: AttentionOptions = {},
  ) {
    super()
    requireSize('MultiHeadAttention', 'width', width)
    requireSize('MultiHeadAttention', 'heads', heads)
    if (width % heads !== 0) {
      throw new UsageError(`MultiHeadAttention: ${heads} heads do not divide a width of ${width}`)
    }
    const { causal = false, bias = true, position, ...rest } = options
    this.causal = causal
    this.position = position
    this.qkv = new Linear(width, 3 * width, { ...rest, bias })
    this.projection = new Linear(width, width, { ...rest, bias })
  }

  forward(x: Tensor): Tensor {
    const [batch = 0, length = 0] = x.shape
    const perHead = this.width / this.heads
    const qkv = this.qkv
      .forward(x) // (B,T,C)·(C,3C) → (B,T,3C)
      .view([batch, length, 3, this.heads, perHead])
    const placed = this.position ? this.position(qkv) : qkv
    const y = F.packedAttention(placed, { causal: this.causal }) // (B,T,H,C/H)
    return this.projection.forward(y.view([batch, length, this.width]))
  }
}
