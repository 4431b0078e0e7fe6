// Attention on distributed tensors: every batch and head is on its own, so q, k and v may be cut there, all
// alike; lengths and features must be whole.
import { ShapeError } from '../../native/errors.js'
import type { AttentionOptions } from '../../tensor/operators/attention.js'
import { scaledDotProductAttention } from '../../tensor/operators/attention.js'
import type { Tensor } from '../../tensor/tensor.js'
import { apply } from '../apply.js'
import type { DistributedTensor } from '../distributed-tensor.js'
import type { Placement } from '../placement.js'
import { replicated, samePlacement } from '../placement.js'

/** softmax(q kᵀ · scale) v over (…, queries, features), (…, keys, features), (…, keys, values). */
export function distributedAttention(
  q: DistributedTensor,
  k: DistributedTensor,
  v: DistributedTensor,
  options: AttentionOptions = {},
): DistributedTensor {
  const leading = q.shape.length - 2
  const agree = [k, v].every((t) => `${t.shape.slice(0, -2)}` === `${q.shape.slice(0, -2)}`)
  if (leading < 0 || !agree) {
    const text = [q, k, v].map(({ shape }) => `[${shape}]`).join(', ')
    throw new ShapeError(
      `attention: ${text} are not (…, length, features) with equal leading sizes`,
    )
  }
  const rule = ([p, ...others]: readonly Placement[]): Placement | undefined => {
    if (p === undefined || !others.every((other) => samePlacement(other, p))) return undefined
    if (p.kind === 'sharded') return p.dim < leading ? p : undefined
    return p.kind === 'replicated' ? replicated() : undefined
  }
  return apply(
    {
      name: 'attention',
      operands: ['q', 'k', 'v'],
      shape: [...q.shape.slice(0, -1), v.shape.at(-1) as number],
      rule,
      compute: ([a, b, c]) =>
        scaledDotProductAttention(a as Tensor, b as Tensor, c as Tensor, options),
    },
    [q, k, v],
  )
}
