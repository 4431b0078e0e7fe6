// Dimensions as arguments: one, several, or all; counted from the end where negative.
import { ShapeError } from '../native/errors.js'
import type { Tensor } from './tensor.js'

/** One dimension or several; negative ones count from the end. */
export type Dims = number | readonly number[]

/** @internal A dims argument as a list; empty means all. */
export function dimList(dim: Dims | undefined): readonly number[] {
  return dim === undefined ? [] : typeof dim === 'number' ? [dim] : dim
}

/** @internal `dim` as 0..rank-1. */
export function normalizeDim(a: Tensor, dim: number): number {
  const rank = a.rank
  const at = dim < 0 ? dim + rank : dim
  if (!Number.isInteger(dim) || at < 0 || at >= Math.max(rank, 1)) {
    throw new ShapeError(`dimension ${dim} is out of range for a tensor of ${rank} dimensions`)
  }
  return at
}

/** Size of `dim`. */
export function sizeOf(a: Tensor, dim: number): number {
  return a.shape[normalizeDim(a, dim)] ?? 1
}
