// Views of distributed tensors: what moves dimensions carries the cut along; reshape fits where the cut
// dimension stays the outermost of those it is joined with or split into, and the parts come out alike.
import { ShapeError } from '../../native/errors.js'
import { narrow, permute, reshape } from '../../tensor/generated/functions.js'
import type { Tensor } from '../../tensor/tensor.js'
import { apply } from '../apply.js'
import type { DistributedTensor } from '../distributed-tensor.js'
import { extentAt, splitSizes } from '../layout.js'
import type { Placement } from '../placement.js'
import { sharded } from '../placement.js'
import { dimAt } from './dims.js'

/** Dimension i of the result is dimension dims[i] of `x`. */
export function distributedPermute(
  x: DistributedTensor,
  dims: readonly number[],
): DistributedTensor {
  const rank = x.shape.length
  const order = dims.map((d) => dimAt('permute', d, rank))
  if (new Set(order).size !== rank || order.length !== rank) {
    throw new ShapeError(`permute: [${dims}] does not name each of ${rank} dimensions once`)
  }
  return apply(
    {
      name: 'permute',
      operands: ['x'],
      shape: order.map((d) => x.shape[d] as number),
      rule: ([p]) => (p?.kind === 'sharded' ? sharded(order.indexOf(p.dim)) : p),
      compute: ([local]) => permute(local as Tensor, order),
    },
    [x],
  )
}

/** Elements start..start+length-1 of `dim`, which must be whole. */
export function distributedNarrow(
  x: DistributedTensor,
  dim: number,
  start: number,
  length: number,
): DistributedTensor {
  const at = dimAt('narrow', dim, x.shape.length)
  return apply(
    {
      name: 'narrow',
      operands: ['x'],
      shape: x.shape.with(at, length),
      rule: ([p]) => (p?.kind === 'sharded' && p.dim === at ? undefined : p),
      compute: ([local]) => narrow(local as Tensor, at, start, length),
    },
    [x],
  )
}

/** The elements in order as `shape`; one size may be -1. */
export function distributedReshape(
  x: DistributedTensor,
  sizes: readonly number[],
): DistributedTensor {
  const shape = resolved(x, sizes)
  const rule = ([p]: readonly Placement[], parts: number) =>
    p?.kind === 'sharded' ? cutAfter(x.shape, shape, p.dim, parts) : p
  const compute = (
    [local]: Tensor[],
    position: number,
    [placed]: readonly (readonly Placement[])[],
  ) => {
    const after = (placed as Placement[]).map(
      (p, a) => rule([p], x.mesh.shape[a] as number) as Placement,
    )
    return reshape(local as Tensor, extentAt(x.mesh, after, shape, position).shape)
  }
  return apply({ name: 'reshape', operands: ['x'], shape, rule, compute }, [x])
}

function resolved(x: DistributedTensor, sizes: readonly number[]): number[] {
  const known = sizes.reduce((n, size) => (size === -1 ? n : n * size), 1)
  const shape = sizes.map((size) => (size === -1 ? x.numel / known : size))
  const fits = shape.every((size) => Number.isSafeInteger(size) && size >= 0)
  if (fits && shape.reduce((n, size) => n * size, 1) === x.numel) return shape
  throw new ShapeError(`reshape: [${x.shape}] does not make [${sizes}]`)
}

/** Where the cut of `dim` lies after a reshape, undefined where its parts would not be such. */
function cutAfter(
  from: readonly number[],
  to: readonly number[],
  dim: number,
  parts: number,
): Placement | undefined {
  const product = (list: readonly number[]) => list.reduce((n, size) => n * size, 1)
  const before = product(from.slice(0, dim))
  const inner = product(from.slice(dim + 1))
  const rows = splitSizes(from[dim] as number, parts)
  for (let d = 0; d < to.length; d++) {
    if (product(to.slice(0, d)) !== before) continue
    const next = product(to.slice(d + 1))
    const sizes = splitSizes(to[d] as number, parts)
    if (sizes.every((size, i) => size * next === (rows[i] as number) * inner)) return sharded(d)
  }
  return undefined
}
