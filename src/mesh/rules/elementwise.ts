// Elementwise operators on distributed tensors: operands placed alike give a result placed so; an operand
// that is broadcast along the cut dimension must be replicated. Terms of a sum pass through what is
// linear in them: sums and differences of terms, a product with or a quotient by something whole.
import { ShapeError } from '../../native/errors.js'
import type { Tensor } from '../../tensor/tensor.js'
import { apply } from '../apply.js'
import type { DistributedTensor } from '../distributed-tensor.js'
import type { Placement } from '../placement.js'
import { isTerms, partial, replicated, samePlacement, sharded } from '../placement.js'

/** Which combinations of terms and whole operands give terms; 'max', 'min': extremes of alike extremes. */
export type Linearity = 'none' | 'sum' | 'product' | 'quotient' | 'max' | 'min'

/** A distributed tensor or a number. */
export type DistributedOperand = DistributedTensor | number

/** The placement along one axis of what is computed elementwise over operands of these shapes. */
export function elementwiseRule(
  placed: readonly Placement[],
  shapes: readonly (readonly number[])[],
  rank: number,
  linearity: Linearity,
): Placement | undefined {
  if (placed.every((p) => p.kind === 'replicated')) return replicated()
  if (placed.some((p) => p.kind === 'partial')) return termsRule(placed, linearity)
  const cut = placed.findIndex((p) => p.kind === 'sharded')
  const cutShape = shapes[cut] as readonly number[]
  const dim = (placed[cut] as { dim: number }).dim + rank - cutShape.length
  const sizeAt = (i: number) =>
    (shapes[i] as readonly number[])[dim - rank + shapes[i]!.length] ?? 1
  const whole = Math.max(...shapes.map((_, i) => sizeAt(i)))
  const fits = placed.every((p, i) => {
    if (p.kind !== 'sharded') return sizeAt(i) === 1 && whole > 1
    return p.dim + rank - shapes[i]!.length === dim && sizeAt(i) === whole
  })
  return fits ? sharded(dim) : undefined
}

function termsRule(placed: readonly Placement[], linearity: Linearity): Placement | undefined {
  if (linearity === 'max' || linearity === 'min') {
    const extremes = placed.every((p) => samePlacement(p, partial(linearity)))
    return extremes ? partial(linearity) : undefined
  }
  const terms = placed.map(isTerms)
  const others = placed.every((p, i) => terms[i] || p.kind === 'replicated')
  if (!others) return undefined
  const count = terms.filter(Boolean).length
  if (linearity === 'sum') return count === placed.length ? partial() : undefined
  if (linearity === 'product') return count === 1 ? partial() : undefined
  if (linearity === 'quotient') return count === 1 && terms[0] ? partial() : undefined
  return undefined
}

/** Shape of the operands broadcast together. */
export function broadcastShape(name: string, a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, d) => {
    const x = a[d - rank + a.length] ?? 1
    const y = b[d - rank + b.length] ?? 1
    if (x === y || y === 1) return x
    if (x === 1) return y
    throw new ShapeError(`${name}: shapes [${a}] and [${b}] do not broadcast`)
  })
}

/** fn(a), elementwise. */
export function unary(
  name: string,
  a: DistributedTensor,
  fn: (local: Tensor) => Tensor,
  linear = false,
): DistributedTensor {
  const rule = (placed: readonly Placement[]) =>
    elementwiseRule(placed, [a.shape], a.shape.length, linear ? 'sum' : 'none')
  return apply({ name, operands: ['x'], shape: a.shape, rule, compute: ([x]) => fn(x as Tensor) }, [
    a,
  ])
}

/** fn(a, b), elementwise and broadcast; `linearity` for two tensors, `scalar` for a number as b. */
export function binary(
  name: string,
  a: DistributedTensor,
  b: DistributedOperand,
  fn: (a: Tensor, b: Tensor | number) => Tensor,
  linearity: Linearity = 'none',
): DistributedTensor {
  if (typeof b === 'number') {
    // A number is the same for every term: only as a factor does it pass.
    const linear = linearity === 'product' || linearity === 'quotient'
    return unary(name, a, (x) => fn(x, b), linear)
  }
  const shapes = [a.shape, b.shape]
  const shape = broadcastShape(name, a.shape, b.shape)
  const rule = (placed: readonly Placement[]) =>
    elementwiseRule(placed, shapes, shape.length, linearity)
  const compute = ([x, y]: Tensor[]) => fn(x as Tensor, y as Tensor)
  return apply({ name, operands: ['a', 'b'], shape, rule, compute }, [a, b])
}
