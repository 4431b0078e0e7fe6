// Reductions of distributed tensors: over a dimension that is not cut each device has its part of the
// result; over the cut dimension a sum, mean or extreme gives terms; a variance over it does not fit.
import type { Dims } from '../../tensor/dims.js'
import { max, mean, min, sum, variance } from '../../tensor/generated/functions.js'
import type { Tensor } from '../../tensor/tensor.js'
import { apply } from '../apply.js'
import type { DistributedTensor } from '../distributed-tensor.js'
import type { PartialOp, Placement } from '../placement.js'
import { partial, replicated, samePlacement, sharded } from '../placement.js'
import { dimAt } from './dims.js'

export interface KeepDim {
  keepDim?: boolean
}
type Reduce = (local: Tensor, dims: number[], options: KeepDim) => Tensor

function reduction(
  name: string,
  x: DistributedTensor,
  dim: Dims | undefined,
  keepDim: boolean,
  op: PartialOp | undefined,
  reduce: Reduce,
): DistributedTensor {
  const rank = x.shape.length
  const given = dim === undefined ? [] : typeof dim === 'number' ? [dim] : dim
  const list = given.map((d) => dimAt(name, d, rank))
  const dims = list.length === 0 ? x.shape.map((_, d) => d) : list
  const gone = (d: number) => dims.includes(d)
  const shape = keepDim
    ? x.shape.map((size, d) => (gone(d) ? 1 : size))
    : x.shape.filter((_, d) => !gone(d))
  const terms = op && partial(op)
  const rule = ([p]: readonly Placement[], parts: number): Placement | undefined => {
    if (p?.kind === 'sharded') {
      // An empty part has a sum, but no extreme.
      const some = op === 'sum' || (x.shape[p.dim] as number) >= parts
      if (gone(p.dim)) return some ? terms : undefined
      const before = dims.filter((d) => d < p.dim).length
      return sharded(keepDim ? p.dim : p.dim - before)
    }
    if (p?.kind === 'partial') return terms && samePlacement(p, terms) ? terms : undefined
    return replicated()
  }
  return apply(
    {
      name,
      operands: ['x'],
      shape,
      rule,
      compute: ([local]) => reduce(local as Tensor, dims, { keepDim }),
    },
    [x],
  )
}

/** Sum over `dim`, all dimensions without it. */
export function distributedSum(x: DistributedTensor, dim?: Dims, options: KeepDim = {}) {
  return reduction('sum', x, dim, options.keepDim ?? false, 'sum', reduceBy(sum))
}

/** Mean over `dim`, all dimensions without it. */
export function distributedMean(x: DistributedTensor, dim?: Dims, options: KeepDim = {}) {
  const keepDim = options.keepDim ?? false
  // Parts differ in size: each device divides its sum by the whole count.
  return reduction('mean', x, dim, keepDim, 'sum', (local, dims, keep) => {
    const here = dims.every((d) => local.shape[d] === x.shape[d])
    if (here) return mean(local, dims, keep)
    const count = dims.reduce((n, d) => n * (x.shape[d] as number), 1)
    return sum(local, dims, keep).div(count)
  })
}

/** Largest element over `dim`, all dimensions without it. */
export function distributedMax(x: DistributedTensor, dim?: Dims, options: KeepDim = {}) {
  return reduction('max', x, dim, options.keepDim ?? false, 'max', reduceBy(max))
}

/** Smallest element over `dim`, all dimensions without it. */
export function distributedMin(x: DistributedTensor, dim?: Dims, options: KeepDim = {}) {
  return reduction('min', x, dim, options.keepDim ?? false, 'min', reduceBy(min))
}

/** Variance over `dim`, all dimensions without it; divides by n - correction. */
export function distributedVariance(
  x: DistributedTensor,
  dim?: Dims,
  options: KeepDim & { correction?: number } = {},
) {
  const { correction = 1 } = options
  return reduction('variance', x, dim, options.keepDim ?? false, undefined, (local, dims, keep) =>
    variance(local, dims, { ...keep, correction }),
  )
}

/** A scalar has no dimension to name. */
function reduceBy(fn: (a: Tensor, dim?: Dims, options?: KeepDim) => Tensor): Reduce {
  return (local, dims, options) => fn(local, dims, options)
}
