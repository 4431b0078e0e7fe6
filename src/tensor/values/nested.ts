// Nested arrays of numbers, booleans or bigints: their shape, their flat form, and back. Pure.
import { ShapeError } from '../../native/errors.js'

/** A number, boolean or bigint, or arrays of them of equal lengths at each depth. */
export type NestedArray = Scalar | NestedArray[]
/** One element in JavaScript. */
export type Scalar = number | boolean | bigint

/** The input form of NestedArray; typed arrays may be the innermost level. */
export type NestedInput = Scalar | readonly NestedInput[] | ArrayLike<number>

/** The shape of nested arrays; checks the first element of each depth only. */
export function shapeOf(data: NestedInput): number[] {
  const shape: number[] = []
  let level: unknown = data
  while (isList(level)) {
    shape.push(level.length)
    level = level[0]
  }
  return shape
}

/**
 * All elements in order; throws ShapeError naming the position where lengths differ from `shape`.
 */
export function flattenNested(data: NestedInput, shape: readonly number[]): Scalar[] {
  const out: Scalar[] = []
  fill(data, shape, 0, [], out)
  return out
}

function fill(
  data: unknown,
  shape: readonly number[],
  depth: number,
  path: number[],
  out: Scalar[],
): void {
  const where = path.length === 0 ? '' : ` at [${path.join('][')}]`
  if (depth === shape.length) {
    if (typeof data !== 'number' && typeof data !== 'boolean' && typeof data !== 'bigint') {
      throw new ShapeError(
        `nested arrays are ragged${where}: a number is expected, found ${kindOf(data)}`,
      )
    }
    out.push(data)
    return
  }
  const expected = shape[depth] as number
  if (!isList(data)) {
    throw new ShapeError(`nested arrays are ragged${where}: a list of ${expected} is expected`)
  }
  if (data.length !== expected) {
    throw new ShapeError(
      `nested arrays are ragged${where}: ${data.length} elements, but ${expected} before`,
    )
  }
  for (let i = 0; i < expected; i++) {
    path.push(i)
    fill(data[i], shape, depth + 1, path, out)
    path.pop()
  }
}

/** Flat elements as nested arrays of `shape`; a bare element for shape []. */
export function nest(flat: ArrayLike<Scalar>, shape: readonly number[]): NestedArray {
  let at = 0
  const build = (depth: number): NestedArray => {
    if (depth === shape.length) return flat[at++] as Scalar
    const list: NestedArray[] = []
    const n = shape[depth] as number
    for (let i = 0; i < n; i++) list.push(build(depth + 1))
    return list
  }
  return build(0)
}

/** Product of the sizes. */
export function sizeOfShape(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1)
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value)
}

function kindOf(value: unknown): string {
  if (isList(value)) return `a list of ${value.length}`
  return value === undefined ? 'nothing' : typeof value
}
