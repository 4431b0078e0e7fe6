// Runs a random program on whole tensors of one device and over a mesh, and compares value by value and gradient by
// gradient: exact values bit by bit, the others within what rounding makes of them.
import {
  autoRedistribute,
  type DistributedTensor,
  distribute,
  distributed,
  functional as F,
  type Fabric,
  type Mesh,
  type Placements,
  scope,
  type Tensor,
  tensor,
} from 'weft'
import { inputNumbers, type Program, type ProgramDtype, type Step } from './program.js'

/** Does a step over the mesh in place of its operator, where it returns something: how a test plants a mistake. */
export type Plant = (
  step: Step,
  operands: readonly DistributedTensor[],
) => DistributedTensor | undefined

/** A value of either run, flat. */
interface Value {
  what: string
  exact: boolean
  numbers: number[]
}

/** Their f64 results and statistics are stored in f32. */
const coarse = ['crossEntropy', 'layerNorm', 'rmsNorm']

/** Relative rounding of one operator, times what a short program makes of it. */
const tolerance: Record<ProgramDtype, number> = {
  f32: 1e-4,
  f64: 1e-12,
  f16: 2e-2,
  bf16: 1e-1,
  i32: 0,
  i64: 0,
}

function input(program: Program, step: Step, k: number, dtype: ProgramDtype): Tensor {
  const numbers = inputNumbers(program.seed, step, k)
  const { shape } = step
  if (step.below !== undefined) return tensor(BigInt64Array.from(numbers, BigInt), { shape })
  if (dtype === 'i32') return tensor(Int32Array.from(numbers), { shape })
  if (dtype === 'i64') return tensor(BigInt64Array.from(numbers, BigInt), { shape })
  const exact = tensor(Float64Array.from(numbers), { shape })
  if (dtype === 'f64' && program.dtype === 'f64') return exact
  // The reference in f64 starts from the numbers that the program's dtype holds.
  const rounded = exact.to(program.dtype)
  return dtype === program.dtype ? rounded : rounded.to(dtype)
}

/** What programs call, of either kind: DistributedTensor and `distributed` have the methods and functions of these. */
function runStep(step: Step, values: readonly Tensor[], over: typeof F): Tensor {
  const [x, y, z] = step.from.map((i) => values[i]) as [Tensor, Tensor, Tensor]
  const { dim = 0, keepDim = false, shape } = step
  switch (step.op) {
    case 'sum':
    case 'mean':
    case 'max':
    case 'min':
    case 'variance':
      return x[step.op](dim, { keepDim })
    case 'softmax':
    case 'logSoftmax':
      return x[step.op](dim)
    case 'transpose':
      return x.transpose(0, dim)
    case 'permute':
      return x.permute(step.order ?? [])
    case 'flatten':
      return x.reshape([-1])
    case 'narrow':
      return x.narrow(dim, step.start ?? 0, shape[dim] as number)
    case 'scale':
      return x.mul(step.scalar ?? 1)
    case 'shift':
      return x.add(step.scalar ?? 0)
    case 'div':
      return x.div(y.mul(y).add(1))
    case 'linear':
      return over.linear(x, y, z)
    case 'embedding':
      return over.embedding(x, y)
    case 'attention':
      return over.scaledDotProductAttention(x, y, z)
    case 'layerNorm':
      return over.layerNorm(x, y)
    case 'rmsNorm':
      return over.rmsNorm(x, y)
    case 'crossEntropy':
      return over.crossEntropy(x, y, { reduction: step.reduction ?? 'mean' })
    case 'add':
    case 'sub':
    case 'mul':
    case 'maximum':
    case 'minimum':
    case 'matmul':
      return x[step.op](y)
    default:
      return x[step.op as 'tanh']()
  }
}

interface Run {
  /** Makes an input of what a whole tensor holds. */
  place(whole: Tensor, placements: Placements): Tensor
  step(step: Step, values: readonly Tensor[]): Tensor
  whole(value: Tensor): Tensor
  backward(last: Tensor): void
}

const squares = (last: Tensor) => last.mul(last).sum(last.shape.map((_, d) => d))

const onOneDevice: Run = {
  place: (whole) => whole,
  step: (step, values) =>
    step.op === 'redistribute'
      ? (values[step.from[0] as number] as Tensor).mul(1)
      : runStep(step, values, F),
  whole: (value) => value.clone(),
  backward: (last) => squares(last).backward(),
}

/** distribute(), but of extremes only the first device along an axis has the value, so that a lost combination shows. */
function placed(whole: Tensor, mesh: Mesh, to: Placements): DistributedTensor {
  const made = distribute(whole, mesh, to)
  for (let p = 0; p < mesh.size; p++) {
    const at = mesh.coordinates(p)
    const beside = mesh.axes.flatMap((axis, a) => {
      const placement = to[axis]
      return placement?.kind === 'partial' && at[a] !== 0 ? [placement.op] : []
    })
    if (beside.includes('sum')) continue
    for (const op of beside) made.local(p).add_(op === 'max' ? -1 : 1)
  }
  return made
}

function overMesh(mesh: Mesh, plant: Plant | undefined): Run {
  const parts = (value: Tensor) => value as unknown as DistributedTensor
  return {
    place: (whole, to) => placed(whole, mesh, to) as unknown as Tensor,
    step: (step, values) => {
      const planted = plant?.(
        step,
        step.from.map((i) => parts(values[i] as Tensor)),
      )
      if (planted !== undefined) return planted as unknown as Tensor
      if (step.op === 'redistribute') {
        const x = parts(values[step.from[0] as number] as Tensor)
        return x.redistribute(step.to ?? {}) as unknown as Tensor
      }
      return autoRedistribute(() => runStep(step, values, distributed as unknown as typeof F))
    },
    whole: (value) => parts(value).full(),
    backward: (last) => autoRedistribute(() => squares(last).backward()),
  }
}

/** Numbers that JavaScript has an array for. */
const readable = (whole: Tensor, dtype: ProgramDtype) =>
  dtype.endsWith('f16') ? whole.to('f32') : whole

/** Values and gradients of one run, in the order of the steps. */
async function outcome(program: Program, run: Run, dtype = program.dtype): Promise<Value[]> {
  const { steps, gradients } = program
  const read = scope(() => {
    const values: Tensor[] = []
    steps.forEach((step, k) => {
      if (step.op !== 'input') {
        values.push(run.step(step, values))
        return
      }
      const value = run.place(input(program, step, k, dtype), step.to ?? {})
      if (gradients && step.below === undefined) value.requiresGrad_()
      values.push(value)
    })
    const out = values.map((value, k) => ({
      what: `v${k}`,
      exact: steps[k]?.bound !== undefined || dtype.startsWith('i'),
      whole: readable(run.whole(value.detach()), dtype),
    }))
    if (!gradients) return out
    const last = values.at(-1) as Tensor
    if (!last.requiresGrad) return out
    run.backward(last)
    steps.forEach(({ op }, k) => {
      const grad = op === 'input' ? values[k]?.grad : null
      if (grad)
        out.push({
          what: `gradient of v${k}`,
          exact: false,
          whole: readable(run.whole(grad), dtype),
        })
    })
    return out
  })
  return Promise.all(
    read.map(async ({ what, exact, whole }) => {
      const numbers = Array.from(await whole.data(), Number)
      whole.dispose()
      return { what, exact, numbers }
    }),
  )
}

/**
 * What differs first, undefined where nothing does. An error is a difference too. `tally` counts the programs that
 * agree only within what rounding alone makes of them.
 */
export async function difference(
  program: Program,
  fabric: Fabric,
  { plant, tally }: { plant?: Plant; tally?: { loosened: number } } = {},
): Promise<string | undefined> {
  const size = Object.values(program.mesh).reduce((n, part) => n * part, 1)
  const names = fabric.devices.slice(0, size).map(({ name }) => name)
  using mesh = fabric.mesh(program.mesh, names)
  try {
    const whole = await outcome(program, onOneDevice)
    const parts = await outcome(program, overMesh(mesh, plant))
    const relative =
      program.dtype === 'f64' && program.steps.some(({ op }) => coarse.includes(op))
        ? tolerance.f32
        : tolerance[program.dtype]
    const found = compared(whole, parts, relative, 0)
    if (found === undefined || program.dtype.startsWith('i')) return found
    // How far rounding alone takes this program: its distance from the same program in f64.
    const fine = await outcome(program, onOneDevice, 'f64')
    const noise = Math.max(
      ...whole.map(({ numbers }, i) => noiseOf(numbers, fine[i]?.numbers ?? [])),
    )
    if (tally !== undefined) tally.loosened++
    return compared(whole, parts, relative, 8 * noise)
  } catch (error) {
    return String(error)
  }
}

const scaleOf = (numbers: readonly number[]) => Math.max(1, ...numbers.map(Math.abs))

function noiseOf(numbers: readonly number[], fine: readonly number[]): number {
  const far = numbers.map((value, i) => Math.abs(value - (fine[i] as number)))
  return Math.max(0, ...far) / scaleOf(numbers)
}

function compared(
  whole: readonly Value[],
  parts: readonly Value[],
  relative: number,
  noise: number,
): string | undefined {
  if (whole.length !== parts.length) {
    return `one device has ${whole.length} values and gradients, the mesh ${parts.length}`
  }
  for (const [k, { what, exact, numbers }] of whole.entries()) {
    const other = parts[k]?.numbers ?? []
    const bound = exact ? 0 : (relative + noise) * scaleOf(numbers)
    for (let i = 0; i < Math.max(numbers.length, other.length); i++) {
      const [x, y] = [numbers[i] as number, other[i] as number]
      if (Math.abs(x - y) <= bound || Object.is(x, y)) continue
      return `${what}, element ${i}: one device ${x}, over the mesh ${y}`
    }
  }
  return undefined
}
