// Views and indexing: other shapes over the same memory (reshape and gather may copy). They record
// gradients. Each returns a new tensor; throws ShapeError for dimensions or sizes that do not fit.
import { words } from '../native/addon.js'
import { ShapeError } from '../native/errors.js'
import { Op } from '../native/operators.js'
import { callNumber, callNumbers, result, results, writeInts } from './invoke.js'
import type { Dims } from './reduction.js'
import { dimList } from './reduction.js'
import type { Tensor } from './tensor.js'

function withInts(op: number, a: Tensor, list: readonly number[]): Tensor {
  words[0] = a.handle
  return result(op, writeInts(1, list))
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

/**
 * The same memory as `shape`; throws ShapeError where strides do not allow it. One size may be -1.
 */
export function view(a: Tensor, shape: readonly number[]): Tensor {
  return withInts(Op.view, a, shape)
}
/** A view as `shape` where possible, else a copy. One size may be -1. */
export function reshape(a: Tensor, shape: readonly number[]): Tensor {
  return withInts(Op.reshape, a, shape)
}
/** Dimensions start..end (inclusive) become one. */
export function flatten(a: Tensor, start = 0, end = -1): Tensor {
  if (a.rank === 0) return reshape(a, [1])
  const first = normalizeDim(a, start)
  const last = normalizeDim(a, end)
  if (first > last) throw new ShapeError(`flatten: dimension ${start} comes after ${end}`)
  const shape = a.shape
  const size = shape.slice(first, last + 1).reduce((product, n) => product * n, 1)
  return reshape(a, [...shape.slice(0, first), size, ...shape.slice(last + 1)])
}
export function transpose(a: Tensor, dim0: number, dim1: number): Tensor {
  return callNumbers(Op.transpose, a, dim0, dim1)
}
/** Transposes a matrix; tensors of fewer dimensions stay. */
export function t(a: Tensor): Tensor {
  if (a.rank > 2) throw new ShapeError(`t() takes a matrix, this tensor has ${a.rank} dimensions`)
  return a.rank < 2 ? view(a, a.shape) : transpose(a, 0, 1)
}
/** Dimension i of the result is dimension dims[i] of `a`. */
export function permute(a: Tensor, dims: readonly number[]): Tensor {
  return withInts(Op.permute, a, dims)
}
/** Fixes `dim` at `index` and removes it. */
export function select(a: Tensor, dim: number, index: number): Tensor {
  return callNumbers(Op.select, a, dim, index)
}
/** Elements start..start+length-1 of `dim`. */
export function narrow(a: Tensor, dim: number, start: number, length: number): Tensor {
  words[0] = a.handle
  words[1] = dim
  words[2] = start
  words[3] = length
  return result(Op.narrow, 4)
}
/** All slices along `dim`, which is removed: [select(a, dim, 0), select(a, dim, 1), …]. */
export function unbind(a: Tensor, dim = 0): Tensor[] {
  words[0] = a.handle
  words[1] = dim
  return results(Op.unbind, 2)
}
/** Pieces of `size` along `dim`, the last one shorter where it does not divide. */
export function split(a: Tensor, size: number, dim = 0): Tensor[] {
  words[0] = a.handle
  words[1] = dim
  words[2] = size
  return results(Op.split, 3)
}
/** Elements start..stop-1 of `dim`, every `step`-th. */
export function slice(a: Tensor, dim: number, start: number, stop?: number, step = 1): Tensor {
  const end = stop ?? sizeOf(a, dim)
  words[0] = a.handle
  words[1] = dim
  words[2] = start
  words[3] = end
  words[4] = step
  return result(Op.slice, 5)
}
/** Repeats dimensions of size 1 without copying; -1 keeps a size. */
export function expand(a: Tensor, shape: readonly number[]): Tensor {
  return withInts(Op.expand, a, shape)
}
/** Removes dimensions of size 1: all, or the given ones. */
export function squeeze(a: Tensor, dim?: Dims): Tensor {
  return withInts(Op.squeeze, a, dimList(dim))
}
/** Adds a dimension of size 1 at `dim`. */
export function unsqueeze(a: Tensor, dim: number): Tensor {
  return callNumber(Op.unsqueeze, a, dim)
}
/** out[i][j] = a[i][index[i][j]] for dim 1, and so on; `index` i64 or i32. */
export function gather(a: Tensor, dim: number, index: Tensor): Tensor {
  words[0] = a.handle
  words[1] = dim
  words[2] = index.handle
  return result(Op.gather, 3)
}
