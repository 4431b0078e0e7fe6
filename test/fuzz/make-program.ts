// Makes a random program over distributed tensors from a seed: a mesh of one to three axes over 2 to 8 devices, a
// dtype, inputs placed at random, and operators whose operands fit. Each value's `bound` says how large it can be while
// every step up to it is exact in that dtype.
import type { MeshShape, Placement } from 'weft'
import { partial, replicated, sharded } from 'weft'
import {
  count,
  dtypes,
  type Program,
  type ProgramDtype,
  randomStream,
  type Step,
} from './program.js'

const meshes: MeshShape[] = [
  { a: 2 },
  { a: 3 },
  { a: 4 },
  { a: 5 },
  { a: 7 },
  { a: 1, b: 2 },
  { a: 2, b: 2 },
  { a: 3, b: 2 },
  { a: 2, b: 4 },
  { a: 2, b: 1, c: 3 },
  { a: 2, b: 2, c: 2 },
]
/** Whole numbers up to these are exact. */
const exactUpTo: Record<ProgramDtype, number> = {
  f32: 2 ** 24,
  f64: 2 ** 53,
  f16: 2 ** 11,
  bf16: 2 ** 8,
  i32: 2 ** 31 - 1,
  i64: 2 ** 53,
}
const moving = ['redistribute', 'redistribute', 'transpose', 'permute', 'flatten', 'narrow']
const exact = ['add', 'sub', 'neg', 'mul', 'sum', 'sum', 'matmul', 'scale', 'embedding', ...moving]
/** Their gradients jump, so that a rounding may turn them. */
const jumping = ['max', 'min', 'maximum', 'minimum', 'relu', 'abs']
const smooth = ['tanh', 'sigmoid', 'gelu', 'silu', 'softmax', 'logSoftmax', 'mean', 'variance']
const layers = ['linear', 'layerNorm', 'rmsNorm', 'attention', 'crossEntropy', 'div', 'shift']

/** Their operands must have one dtype. */
const alike = ['matmul', 'linear', 'attention', 'layerNorm', 'rmsNorm', 'crossEntropy', 'embedding']

type Next = (below: number) => number

/** A program of `length` operators, inputs beside them. */
export function makeProgram(seed: number, length: number): Program {
  const next = randomStream(seed)
  const pick = <T>(list: readonly T[]) => list[next(list.length)] as T
  const mesh = pick(meshes)
  const dtype = pick(dtypes)
  const integer = dtype.startsWith('i')
  const low = dtype.endsWith('f16')
  const gradients = !integer && next(4) > 0
  // Over a mesh equal extremes share their gradient in another way than on one device.
  const jumps = gradients ? (low ? [] : jumping.slice(2)) : jumping
  const ops = integer
    ? [...exact, ...jumps.slice(0, 4)]
    : [...exact, ...jumps, ...smooth, ...layers]
  const maker = new Maker(mesh, dtype, next)
  const inputs = 1 + next(3)
  for (let i = 0; i < inputs; i++) {
    maker.input(Array.from({ length: 1 + next(3) }, () => 1 + next(6)))
  }
  for (let made = 0; made < length; ) made += maker.operator(pick(ops)) ? 1 : 0
  return { seed, mesh, dtype, gradients, steps: maker.steps }
}

class Maker {
  readonly steps: Step[] = []
  /** Some results have a wider dtype: sums of i32, losses of 16-bit floats. */
  readonly mixed: boolean
  constructor(
    readonly mesh: MeshShape,
    readonly dtype: ProgramDtype,
    readonly next: Next,
  ) {
    this.mixed = dtype === 'i32' || dtype.endsWith('f16')
  }

  placements(shape: readonly number[]): Record<string, Placement> {
    const free = shape.map((_, d) => d)
    const place = (): Placement => {
      const kind = this.next(3)
      if (kind === 0 || (kind === 1 && free.length === 0)) return replicated()
      if (kind === 2) return partial((['sum', 'sum', 'max', 'min'] as const)[this.next(4)])
      return sharded(free.splice(this.next(free.length), 1)[0] as number)
    }
    return Object.fromEntries(Object.keys(this.mesh).map((axis) => [axis, place()]))
  }

  /** A new input; its number. */
  input(shape: number[], below?: number): number {
    const step: Step = { op: 'input', from: [], shape, to: this.placements(shape) }
    if (below !== undefined) step.below = below
    else if (this.dtype.startsWith('i') || this.next(2) === 0) {
      step.whole = 3
      step.bound = 3
    }
    return this.steps.push(step) - 1
  }

  /** Any value of floating numbers that fits, at random. */
  value(fits: (shape: number[]) => boolean): number | undefined {
    const all = this.steps.flatMap((step, i) =>
      step.below === undefined && fits(step.shape) ? [i] : [],
    )
    return all.length === 0 ? undefined : all[this.next(all.length)]
  }

  /** Appends an operator over some value; false where it fits none. */
  operator(op: string): boolean {
    const x = this.value(() => true) as number
    const made = this.step(op, x, (this.steps[x] as Step).shape)
    if (made === undefined || count(made.shape) > 600) return false
    const bound = this.bound(made)
    if (bound === 'too large') return false
    const widens = this.dtype === 'i32' ? op === 'sum' : op === 'crossEntropy'
    const wide = this.mixed && (widens || made.from.some((i) => this.steps[i]?.wide))
    this.steps.push({ ...made, ...(bound !== undefined && { bound }), ...(wide && { wide }) })
    return true
  }

  step(op: string, x: number, shape: number[]): Step | undefined {
    const { next } = this
    const rank = shape.length
    const dim = next(Math.max(rank, 1))
    const one: Step = { op, from: [x], shape }
    if (this.steps[x]?.wide && alike.includes(op)) return undefined
    switch (op) {
      case 'add':
      case 'sub':
      case 'mul':
      case 'div':
      case 'maximum':
      case 'minimum': {
        const y = this.value(
          (other) =>
            other.length <= rank &&
            other.every((size, d) => size === 1 || size === shape[d + rank - other.length]),
        )
        return y === undefined ? undefined : { ...one, from: [x, y] }
      }
      case 'scale':
      case 'shift':
        return { ...one, scalar: next(5) - 2 }
      case 'matmul': {
        if (rank < 2) return undefined
        const fits = (other: number[]) =>
          other.length >= 2 &&
          other.at(-2) === shape.at(-1) &&
          (other.length === 2 || `${other.slice(0, -2)}` === `${shape.slice(0, -2)}`)
        const y = this.value(fits) ?? this.input([shape.at(-1) as number, 1 + next(5)])
        if (this.steps[y]?.wide) return undefined
        const columns = (this.steps[y] as Step).shape.at(-1) as number
        return { ...one, from: [x, y], shape: [...shape.slice(0, -1), columns] }
      }
      case 'linear': {
        if (rank < 2) return undefined
        const out = 1 + next(5)
        const w = this.input([out, shape.at(-1) as number])
        const from = next(2) === 0 ? [x, w] : [x, w, this.input([out])]
        return { ...one, from, shape: [...shape.slice(0, -1), out] }
      }
      case 'embedding': {
        if (rank !== 2) return undefined
        const at = this.input([1 + next(6)], shape[0])
        return { ...one, from: [x, at], shape: [this.steps[at]!.shape[0] as number, shape[1]!] }
      }
      case 'attention': {
        if (rank < 3) return undefined
        const k = this.value((other) => `${other}` === `${shape}`) as number
        if (this.steps[k]?.wide) return undefined
        return { ...one, from: [x, k, x] }
      }
      case 'layerNorm':
      case 'rmsNorm': {
        const features = shape.at(-1)
        if (features === undefined || features < 2) return undefined
        return { ...one, from: next(2) === 0 ? [x] : [x, this.input([features])] }
      }
      case 'crossEntropy': {
        if (rank !== 2 || (shape[1] as number) < 2) return undefined
        const target = this.input([shape[0] as number], shape[1])
        const reduction = (['none', 'sum', 'mean'] as const)[next(3)]!
        return {
          ...one,
          from: [x, target],
          reduction,
          shape: reduction === 'none' ? [shape[0]!] : [],
        }
      }
      case 'sum':
      case 'mean':
      case 'max':
      case 'min':
      case 'variance': {
        if (rank === 0 || (op === 'variance' && (shape[dim] as number) < 2)) return undefined
        const keepDim = next(3) === 0
        const to = keepDim ? shape.with(dim, 1) : shape.toSpliced(dim, 1)
        return { ...one, dim, keepDim, shape: to }
      }
      case 'softmax':
      case 'logSoftmax':
        return rank === 0 ? undefined : { ...one, dim }
      case 'transpose': {
        if (rank < 2 || dim === 0) return undefined
        return { ...one, dim, shape: shape.with(0, shape[dim]!).with(dim, shape[0]!) }
      }
      case 'permute': {
        if (rank < 3) return undefined
        const order = [2, 0, 1]
        return { ...one, order, shape: order.map((d) => shape[d] as number) }
      }
      case 'flatten':
        return { ...one, shape: [count(shape)] }
      case 'narrow': {
        if (rank === 0 || (shape[dim] as number) < 2) return undefined
        const start = next(shape[dim] as number)
        const length = 1 + next((shape[dim] as number) - start)
        return { ...one, dim, start, shape: shape.with(dim, length) }
      }
      case 'redistribute':
        return { ...one, to: this.placements(shape) }
      default:
        return one
    }
  }

  /** How large the result can be, undefined where it may be rounded; integers must never be. */
  bound({ op, from, scalar, dim }: Step): number | undefined | 'too large' {
    const operands = from.map((i) => this.steps[i] as Step)
    const limit = exactUpTo[this.dtype]
    const [a, b] = operands.map((step) => step.bound)
    const reach = (): number | undefined => {
      if (a === undefined) return undefined
      if (moving.includes(op) || ['neg', 'abs', 'relu', 'max', 'min', 'embedding'].includes(op))
        return a
      if (op === 'scale') return a * Math.abs(scalar ?? 1)
      if (op === 'shift') return a + Math.abs(scalar ?? 0)
      if (op === 'sum') return a * (operands[0]!.shape[dim ?? 0] as number)
      if (b === undefined) return undefined
      if (op === 'add' || op === 'sub') return a + b
      if (op === 'mul') return a * b
      if (op === 'maximum' || op === 'minimum') return Math.max(a, b)
      return op === 'matmul' ? a * b * (operands[0]!.shape.at(-1) as number) : undefined
    }
    const bound = reach()
    if (bound !== undefined && bound <= limit) return bound
    if (this.dtype.startsWith('i')) return 'too large'
    return (bound ?? 0) > limit ? 'too large' : undefined
  }
}
