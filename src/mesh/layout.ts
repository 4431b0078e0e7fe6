// Which part of a distributed tensor a device holds: sizes of the parts along an axis, and extent of the
// part at a position. Pure; distribute, redistribute and the rules ask here.
import type { Mesh } from './mesh.js'
import type { Placement } from './placement.js'

/** Sizes of `parts` parts of `total` elements: the first ones have one more where it does not divide. */
export function splitSizes(total: number, parts: number): number[] {
  const small = Math.floor(total / parts)
  const large = total - small * parts
  return Array.from({ length: parts }, (_, i) => (i < large ? small + 1 : small))
}

/** First element of each of the parts, and the end. */
export function splitStarts(total: number, parts: number): number[] {
  const starts = [0]
  for (const size of splitSizes(total, parts)) starts.push((starts.at(-1) as number) + size)
  return starts
}

/** What lies at a position: sizes and, in the whole tensor, the first index of each dimension. */
export interface Extent {
  shape: number[]
  start: number[]
}

export function extentAt(
  mesh: Mesh,
  placed: readonly Placement[],
  shape: readonly number[],
  position: number,
): Extent {
  const at = mesh.coordinates(position)
  const extent: Extent = { shape: [...shape], start: shape.map(() => 0) }
  placed.forEach((placement, a) => {
    if (placement.kind !== 'sharded') return
    const { dim } = placement
    const starts = splitStarts(shape[dim] as number, mesh.shape[a] as number)
    const i = at[a] as number
    extent.start[dim] = starts[i] as number
    extent.shape[dim] = (starts[i + 1] as number) - (starts[i] as number)
  })
  return extent
}

/** Elements of the whole tensor that one device holds, at most. */
export function localElements(
  mesh: Mesh,
  placed: readonly Placement[],
  shape: readonly number[],
): number {
  return extentAt(mesh, placed, shape, 0).shape.reduce((n, size) => n * size, 1)
}
