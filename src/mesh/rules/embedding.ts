// Embedding on distributed tensors: the table whole, cut over its width (the result is cut there), or cut
// over its rows, the vocabulary: each device looks up the indices it has and gives zeros for the others,
// so the results are terms. Indices may be cut when the table is whole.
import { ShapeError } from '../../native/errors.js'
import { clamp, embedding, ge, lt, mul, sub, unsqueeze } from '../../tensor/generated/functions.js'
import type { Tensor } from '../../tensor/tensor.js'
import { apply } from '../apply.js'
import type { DistributedTensor } from '../distributed-tensor.js'
import { extentAt } from '../layout.js'
import type { Placement } from '../placement.js'
import { partial, sharded } from '../placement.js'

/** Rows of `weight` (rows, features) at `indices` (…) -> (…, features). */
export function distributedEmbedding(
  weight: DistributedTensor,
  indices: DistributedTensor,
): DistributedTensor {
  if (weight.shape.length !== 2) {
    throw new ShapeError(`embedding: the table [${weight.shape}] is not (rows, features)`)
  }
  const [rows, features] = weight.shape as [number, number]
  const rule = ([w, i]: readonly Placement[], parts: number): Placement | undefined => {
    if (i?.kind === 'sharded') return w?.kind === 'replicated' ? i : undefined
    if (i?.kind !== 'replicated') return undefined
    if (w?.kind !== 'sharded') return w
    if (w.dim === 1) return sharded(indices.shape.length)
    return rows >= parts ? partial() : undefined // no device without a row
  }
  const compute = (
    [table, at]: Tensor[],
    position: number,
    [placed]: readonly (readonly Placement[])[],
  ) => {
    const { shape, start } = extentAt(weight.mesh, placed as Placement[], weight.shape, position)
    const [count, first] = [shape[0] as number, start[0] as number]
    if (count === rows) return embedding(table as Tensor, at as Tensor)
    const here = sub(at as Tensor, first)
    const found = mul(ge(here, 0), lt(here, count)).to((table as Tensor).dtype)
    return mul(embedding(table as Tensor, clamp(here, 0, count - 1)), unsqueeze(found, -1))
  }
  return apply(
    {
      name: 'embedding',
      operands: ['weight', 'indices'],
      shape: [...indices.shape, features],
      rule,
      compute,
    },
    [weight, indices],
  )
}
