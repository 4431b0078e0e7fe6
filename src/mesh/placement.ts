// Placements: how a distributed tensor lies along one axis of its mesh. Programs write
// `{ data: sharded(0), model: replicated() }`; an axis that is not named is replicated.
import { PlacementError } from '../native/errors.js'
import type { Mesh } from './mesh.js'

/** How the parts of a partial tensor are combined. */
export type PartialOp = 'sum' | 'max' | 'min'

/**
 * How a tensor lies along one axis: the same everywhere, cut along a dimension, or as terms of a sum, of a maximum or
 * of a minimum.
 */
export type Placement =
  | { readonly kind: 'replicated' }
  | { readonly kind: 'sharded'; readonly dim: number }
  | { readonly kind: 'partial'; readonly op: PartialOp }

/** Placements by axis name. */
export type Placements = Readonly<Record<string, Placement>>

const whole: Placement = Object.freeze({ kind: 'replicated' })
const partials: Readonly<Record<PartialOp, Placement>> = Object.freeze({
  sum: Object.freeze({ kind: 'partial', op: 'sum' }),
  max: Object.freeze({ kind: 'partial', op: 'max' }),
  min: Object.freeze({ kind: 'partial', op: 'min' }),
})

/** Every device along the axis has the whole tensor. */
export function replicated(): Placement {
  return whole
}

/**
 * Each device along the axis has a part of dimension `dim` (negative: from the end). Where the size does not divide,
 * the first devices have one element more.
 */
export function sharded(dim: number): Placement {
  return { kind: 'sharded', dim }
}

/** Each device along the axis has a term; the tensor is the sum of all, or the largest or smallest one elementwise. */
export function partial(op: PartialOp = 'sum'): Placement {
  if (Object.hasOwn(partials, op)) return partials[op]
  throw new PlacementError(`partial(${JSON.stringify(op)}): use 'sum', 'max' or 'min'`)
}

/** Is it terms of a sum? */
export function isTerms(placement: Placement | undefined): boolean {
  return placement?.kind === 'partial' && placement.op === 'sum'
}

export function samePlacement(a: Placement, b: Placement): boolean {
  if (a.kind === 'sharded') return b.kind === 'sharded' && a.dim === b.dim
  return a.kind === b.kind && (a.kind !== 'partial' || a.op === (b as typeof a).op)
}

/** As a program writes it. */
export function placementText(placement: Placement): string {
  if (placement.kind === 'replicated') return 'replicated()'
  return placement.kind === 'partial' ? `partial('${placement.op}')` : `sharded(${placement.dim})`
}

/** As "{ data: sharded(0), model: replicated() }". */
export function placementsText(mesh: Mesh, placed: readonly Placement[]): string {
  return `{ ${mesh.axes.map((axis, a) => `${axis}: ${placementText(placed[a] as Placement)}`).join(', ')} }`
}

/**
 * @internal Placements in the order of the mesh's axes, dimensions counted from 0. Axes that are not named have what
 * `others` says. Throws PlacementError for an unknown axis, a dimension out of range, or one cut along two axes.
 */
export function placementList(
  mesh: Mesh,
  placements: Placements,
  rank: number,
  others: readonly Placement[] = mesh.axes.map(() => whole),
): Placement[] {
  for (const axis of Object.keys(placements)) {
    if (mesh.axes.includes(axis)) continue
    throw new PlacementError(
      `the mesh has no axis ${JSON.stringify(axis)}: ${mesh.axes.join(', ')}`,
      { axis },
    )
  }
  const list = mesh.axes.map((axis, a) => {
    const given = placements[axis]
    return given === undefined ? (others[a] as Placement) : checked(given, rank, axis)
  })
  requireOneAxisADim(mesh, list)
  return list
}

function checked(placement: Placement, rank: number, axis: string): Placement {
  if (placement?.kind === 'replicated') return whole
  if (placement?.kind === 'partial') return partial(placement.op)
  if (placement?.kind !== 'sharded') {
    throw new PlacementError(
      `axis ${axis}: a placement is replicated(), sharded(dim) or partial(op)`,
    )
  }
  const { dim } = placement
  const at = dim < 0 ? dim + rank : dim
  if (Number.isInteger(dim) && at >= 0 && at < rank) return sharded(at)
  throw new PlacementError(
    `axis ${axis}: sharded(${dim}) is out of range for a tensor of ${rank} dimensions`,
    { axis, dim },
  )
}

/** @internal Throws PlacementError where a dimension is cut along two axes. */
export function requireOneAxisADim(mesh: Mesh, placed: readonly Placement[]): void {
  placed.forEach((placement, a) => {
    if (placement.kind !== 'sharded') return
    const b = placed.findIndex((other) => samePlacement(other, placement))
    if (b === a) return
    throw new PlacementError(
      `dimension ${placement.dim} is sharded along both ${mesh.axes[b]} and ${mesh.axes[a]}; cut another dimension`,
      { dim: placement.dim },
    )
  })
}
