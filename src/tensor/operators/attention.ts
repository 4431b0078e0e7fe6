// Attention over any leading dimensions: the operator takes (batch, heads, length, width); fewer or more are laid out
// as these four and back. A function of F.
import { words } from '../../native/addon.js'
import { ShapeError } from '../../native/errors.js'
import { Op } from '../../native/operators.js'
import { reshape } from '../generated/functions.js'
import type { Tensor } from '../tensor.js'
import { handleOf, numberOf, result } from './invoke.js'

/** What scaled dot-product attention may be told. */
export interface AttentionOptions {
  /** Hides later keys from each query. Default false. */
  causal?: boolean
  /** Default 1 / sqrt(features). */
  scale?: number
}

/**
 * softmax(q kᵀ · scale) v over (…, queries, features), (…, keys, features), (…, keys, values), with equal leading
 * dimensions, none or any number of them. Never stores the score matrix.
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor {
  handleOf(q)
  const leading = q.shape.slice(0, -2)
  const scale = options.scale ?? 1 / Math.sqrt(q.size(-1))
  if (q.rank === 4) return attention(q, k, v, options.causal, scale)
  const four = [q, k, v].map((each) => {
    handleOf(each)
    if (each.rank < 2 || `${each.shape.slice(0, -2)}` !== `${leading}`) {
      const shapes = [q, k, v].map(({ shape }) => `(${shape.join(', ')})`)
      throw new ShapeError(
        `attention: q ${shapes[0]}, k ${shapes[1]} and v ${shapes[2]} must be (…, length, width) with ` +
          'equal leading dimensions',
      )
    }
    return reshape(each, [1, leading.reduce((n, size) => n * size, 1), ...each.shape.slice(-2)])
  }) as [Tensor, Tensor, Tensor]
  const out = attention(...four, options.causal, scale)
  const shaped = reshape(out, [...leading, ...out.shape.slice(-2)])
  for (const each of [...four, out]) each.dispose()
  return shaped
}

function attention(q: Tensor, k: Tensor, v: Tensor, causal = false, scale: number): Tensor {
  words[0] = handleOf(q)
  words[1] = handleOf(k)
  words[2] = handleOf(v)
  words[3] = causal ? 1 : 0
  words[4] = numberOf(scale)
  return result(Op.attention, 5)
}
