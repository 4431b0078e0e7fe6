// Products of distributed matrices. Cut rows of a, or cut columns of b, are cut in the result (column
// parallel); a cut inner dimension gives terms (row parallel); cut batch dimensions stay cut.
import { ShapeError } from '../../native/errors.js'
import { linear, matmul } from '../../tensor/generated/functions.js'
import type { Tensor } from '../../tensor/tensor.js'
import { apply } from '../apply.js'
import type { DistributedTensor } from '../distributed-tensor.js'
import type { Placement } from '../placement.js'
import { isTerms, partial, replicated, sharded } from '../placement.js'
import { broadcastShape, elementwiseRule } from './elementwise.js'

const cutAt = (p: Placement | undefined, dim: number) => p?.kind === 'sharded' && p.dim === dim
const whole = (p: Placement | undefined) => p === undefined || p.kind === 'replicated'
const terms = isTerms

/** (…, n, k) · (…, k, m) -> (…, n, m); batch dimensions broadcast. */
export function distributedMatmul(a: DistributedTensor, b: DistributedTensor): DistributedTensor {
  const [ra, rb] = [a.shape.length, b.shape.length]
  const inner = a.shape[ra - 1]
  if (ra < 2 || rb < 2 || inner !== b.shape[rb - 2]) {
    throw new ShapeError(`matmul: [${a.shape}] and [${b.shape}] are not (…, n, k) and (…, k, m)`)
  }
  const batches = [a.shape.slice(0, -2), b.shape.slice(0, -2)]
  const batch = broadcastShape('matmul', batches[0]!, batches[1]!)
  const rank = batch.length + 2
  const rule = ([p, q]: readonly Placement[]): Placement | undefined => {
    if (cutAt(p, ra - 1) && cutAt(q, rb - 2)) return partial()
    if (terms(p) || terms(q)) {
      return (terms(p) && whole(q)) || (whole(p) && terms(q)) ? partial() : undefined
    }
    if (cutAt(p, ra - 2)) return whole(q) ? sharded(rank - 2) : undefined
    if (cutAt(q, rb - 1)) return whole(p) ? sharded(rank - 1) : undefined
    if (cutAt(p, ra - 1) || cutAt(q, rb - 2)) return undefined
    return elementwiseRule([p as Placement, q as Placement], batches, batch.length, 'none')
  }
  return apply(
    {
      name: 'matmul',
      operands: ['a', 'b'],
      shape: [...batch, a.shape[ra - 2] as number, b.shape[rb - 1] as number],
      rule,
      compute: ([x, y]) => matmul(x as Tensor, y as Tensor),
    },
    [a, b],
  )
}

/** x (…, in) · weightᵀ + bias -> (…, out); weight (out, in), bias (out,). */
export function distributedLinear(
  x: DistributedTensor,
  weight: DistributedTensor,
  bias?: DistributedTensor | null,
  options: { gelu?: boolean } = {},
): DistributedTensor {
  const last = x.shape.length - 1
  const [out, inner] = weight.shape
  if (
    weight.shape.length !== 2 ||
    inner !== x.shape[last] ||
    (bias && `${bias.shape}` !== `${out}`)
  ) {
    const text = [x, weight, ...(bias ? [bias] : [])].map(({ shape }) => `[${shape}]`).join(', ')
    throw new ShapeError(`linear: ${text} are not (…, in), (out, in) and (out,)`)
  }
  const rule = ([p, w, b]: readonly Placement[]): Placement | undefined => {
    const sums = b === undefined || terms(b)
    if (cutAt(p, last) || cutAt(w, 1) || terms(p) || terms(w)) {
      const fits =
        (cutAt(p, last) && cutAt(w, 1)) || (terms(p) && whole(w)) || (whole(p) && terms(w))
      return fits && sums && !options.gelu ? partial() : undefined
    }
    if (cutAt(w, 0)) return whole(p) && (b === undefined || cutAt(b, 0)) ? sharded(last) : undefined
    if (!whole(w) || !whole(b) || p?.kind === 'partial') return undefined
    return p
  }
  return apply(
    {
      name: 'linear',
      operands: ['x', 'weight', 'bias'],
      shape: x.shape.with(last, out as number),
      rule,
      compute: ([local, w, b]) => linear(local as Tensor, w as Tensor, b, options),
    },
    bias ? [x, weight, bias] : [x, weight],
  )
}
