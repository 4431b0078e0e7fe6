// Views made of other views; the operators themselves are in generated/functions.ts. Each returns a
// new tensor over the same memory (flatten may copy) and records gradients.
import { ShapeError } from '../../native/errors.js'
import { normalizeDim } from '../dims.js'
import { reshape, transpose, view } from '../generated/functions.js'
import type { Tensor } from '../tensor.js'

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

/** Transposes a matrix; tensors of fewer dimensions stay. */
export function t(a: Tensor): Tensor {
  if (a.rank > 2) throw new ShapeError(`t() takes a matrix, this tensor has ${a.rank} dimensions`)
  return a.rank < 2 ? view(a, a.shape) : transpose(a, 0, 1)
}
