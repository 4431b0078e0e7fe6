// Dimensions of distributed tensors as arguments; the rules ask here.
import { ShapeError } from '../../native/errors.js'

/** `dim` as 0..rank-1; throws ShapeError naming the operator. */
export function dimAt(name: string, dim: number, rank: number): number {
  const at = dim < 0 ? dim + rank : dim
  if (Number.isInteger(dim) && at >= 0 && at < rank) return at
  throw new ShapeError(`${name}: dimension ${dim} is out of range for ${rank} dimensions`)
}
