// The form of a random program over distributed tensors: steps over earlier values, as text, and the numbers that
// its seed stands for. make-program.ts makes them, run-program.ts runs them, shrink.ts makes them smaller.
import type { MeshShape, Placement } from 'weft'

export const dtypes = ['f32', 'f64', 'f16', 'bf16', 'i32', 'i64'] as const
export type ProgramDtype = (typeof dtypes)[number]

/** One step: an input, or an operator over the values of earlier steps. */
export interface Step {
  op: string
  from: number[]
  /** Sizes of the result. */
  shape: number[]
  /** Largest absolute value where every step up to here is exact: such values are compared bit by bit. */
  bound?: number
  /** Of a wider dtype than the program's: a sum of i32, a loss of 16-bit floats, and what is made of them. */
  wide?: boolean
  dim?: number
  keepDim?: boolean
  scalar?: number
  /** First element of a narrow, order of a permute. */
  start?: number
  order?: number[]
  /** What a cross entropy gives. */
  reduction?: 'none' | 'sum' | 'mean'
  /** An input's placements, or where a redistribute goes. */
  to?: Record<string, Placement>
  /** Of an input: class numbers below this (i64), whole numbers up to this, or fractions. */
  below?: number
  whole?: number
}

export interface Program {
  seed: number
  mesh: MeshShape
  dtype: ProgramDtype
  /** Gradients of the sum of squares of the last value are compared too. */
  gradients: boolean
  steps: Step[]
}

/** A stream of numbers below a bound, from a seed. */
export function randomStream(seed: number): (below: number) => number {
  let state = (Math.imul(seed, 2_654_435_761) ^ 0x9e3779b9) >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state % below
  }
}

export function count(shape: readonly number[]): number {
  return shape.reduce((n, size) => n * size, 1)
}

/** The numbers of input `k`; they depend on its size, not on the other steps. */
export function inputNumbers(seed: number, { shape, below, whole }: Step, k: number): number[] {
  const next = randomStream(seed + 7919 * (k + 1))
  return Array.from({ length: count(shape) }, () => {
    if (below !== undefined) return next(below)
    return whole === undefined ? (next(2001) - 1000) / 1000 : next(2 * whole + 1) - whole
  })
}

/** One line a step. */
export function programText({ seed, mesh, dtype, gradients, steps }: Program): string {
  const lines = steps.map(({ op, from, shape, bound: _, wide: __, ...rest }, k) => {
    const extra = Object.entries(rest).map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    const args = [...from.map((i) => `v${i}`), ...extra].join(', ')
    return `  v${k} [${shape}] = ${op}(${args})`
  })
  const what = `${dtype}${gradients ? ' with gradients' : ''}`
  return `seed ${seed}, mesh ${JSON.stringify(mesh)}, ${what}\n${lines.join('\n')}`
}
