// Reductions over dimensions: sum, mean, max, min, argmax, variance. Without `dim` over all;
// keepDim leaves size 1 where a dimension was. f16 and bf16 accumulate in f32; results are the same
// bits on every run. Each enqueues and returns a new tensor.
import { words } from '../native/addon.js'
import { Op } from '../native/operators.js'
import { result, writeInts } from './invoke.js'
import type { Tensor } from './tensor.js'

/** One dimension or several; negative ones count from the end. */
export type Dims = number | readonly number[]

export interface ReduceOptions {
  /** Keep reduced dimensions with size 1. */
  keepDim?: boolean
}

/** @internal A dims argument as a list; empty means all. */
export function dimList(dim: Dims | undefined): readonly number[] {
  return dim === undefined ? [] : typeof dim === 'number' ? [dim] : dim
}

function reduce(op: number, a: Tensor, dim: Dims | undefined, options: ReduceOptions = {}): Tensor {
  words[0] = a.handle
  const at = writeInts(1, dimList(dim))
  words[at] = options.keepDim ? 1 : 0
  return result(op, at + 1)
}

/** Sum; integers and bool sum in i64. */
export function sum(a: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
  return reduce(Op.sum, a, dim, options)
}
/** Arithmetic mean of a floating tensor. */
export function mean(a: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
  return reduce(Op.mean, a, dim, options)
}
/** Largest element; NaN wins. */
export function max(a: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
  return reduce(Op.amax, a, dim, options)
}
/** Smallest element; NaN wins. */
export function min(a: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
  return reduce(Op.amin, a, dim, options)
}
/** Position of the first largest element as i64; of the flattened tensor without `dim`. */
export function argmax(a: Tensor, dim?: number, options?: ReduceOptions): Tensor {
  return reduce(Op.argmax, a, dim, options)
}
/** Variance of a floating tensor; divides by n - correction (1 by default). */
export function variance(
  a: Tensor,
  dim?: Dims,
  options: ReduceOptions & { correction?: number } = {},
): Tensor {
  words[0] = a.handle
  const at = writeInts(1, dimList(dim))
  words[at] = options.correction ?? 1
  words[at + 1] = options.keepDim ? 1 : 0
  return result(Op.var, at + 2)
}
