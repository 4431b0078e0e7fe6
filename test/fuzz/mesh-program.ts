// Random programs over distributed tensors: made from a seed, run on whole tensors and over a mesh, compared value by
// value and gradient by gradient. Integers must agree bit by bit. scripts/fuzz.mjs and a test of the host suite
// run them.
import {
  autoRedistribute,
  type DistributedTensor,
  distribute,
  type Fabric,
  type Mesh,
  type MeshShape,
  type Placement,
  partial,
  replicated,
  scope,
  sharded,
  type Tensor,
  tensor,
} from 'weft'

/** One step: an operator over earlier values. */
export interface Step {
  op: string
  from: number[]
  /** Dimension, or where a redistribute goes. */
  dim?: number
  to?: Record<string, Placement>
}
export interface Program {
  seed: number
  mesh: MeshShape
  dtype: 'f32' | 'i32'
  inputs: { shape: number[]; to: Record<string, Placement> }[]
  steps: Step[]
}

/** A stream of numbers below a bound, from a seed. */
export function randomStream(seed: number): (below: number) => number {
  let state = (seed * 2_654_435_761 + 1) >>> 0
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state % below
  }
}

const meshes: MeshShape[] = [
  { a: 2 },
  { a: 3 },
  { a: 4 },
  { a: 1, b: 2 },
  { a: 2, b: 2 },
  { a: 2, b: 4 },
]
const floating = ['tanh', 'mean', 'softmax', 'matmul', 'relu', 'mul', 'max']
const exact = ['add', 'sub', 'neg', 'sum', 'transpose', 'flatten', 'redistribute', 'redistribute']

/** A program of at most `length` steps. */
export function makeProgram(seed: number, length: number): Program {
  const next = randomStream(seed)
  const pick = <T>(list: readonly T[]) => list[next(list.length)] as T
  const mesh = pick(meshes)
  const dtype = next(4) === 0 ? 'i32' : 'f32'
  const shapes: number[][] = []
  const inputs = Array.from({ length: 1 + next(3) }, () => {
    const shape = Array.from({ length: 1 + next(3) }, () => 1 + next(6))
    shapes.push(shape)
    return { shape, to: placements(mesh, shape, next) }
  })
  const ops = dtype === 'f32' ? [...exact, ...floating] : exact
  const steps: Step[] = []
  while (steps.length < length) {
    const op = pick(ops)
    const x = next(shapes.length)
    const shape = shapes[x] as number[]
    const made = makeStep(op, x, shape, shapes, mesh, next)
    if (made === undefined) continue
    steps.push(made.step)
    shapes.push(made.shape)
  }
  return { seed, mesh, dtype, inputs, steps }
}

function placements(mesh: MeshShape, shape: readonly number[], next: (below: number) => number) {
  const free = shape.map((_, d) => d)
  const place = (): Placement => {
    const kind = next(3)
    if (kind === 0 || (kind === 1 && free.length === 0)) return replicated()
    return kind === 1 ? sharded(free.splice(next(free.length), 1)[0] as number) : partial()
  }
  return Object.fromEntries(Object.keys(mesh).map((axis) => [axis, place()]))
}

function makeStep(
  op: string,
  x: number,
  shape: number[],
  shapes: number[][],
  mesh: MeshShape,
  next: (below: number) => number,
): { step: Step; shape: number[] } | undefined {
  const dim = next(Math.max(shape.length, 1))
  const fits = (test: (other: number[]) => boolean) => {
    const all = shapes.flatMap((other, i) => (test(other) ? [i] : []))
    return all.length === 0 ? undefined : (all[next(all.length)] as number)
  }
  switch (op) {
    case 'add':
    case 'sub':
    case 'mul': {
      const y = fits(
        (other) => other.join() === shape.join() || other.join() === shape.slice(1).join(),
      )
      return y === undefined ? undefined : { step: { op, from: [x, y] }, shape }
    }
    case 'matmul': {
      if (shape.length < 2) return undefined
      const y = fits((other) => other.length === 2 && other[0] === shape.at(-1))
      if (y === undefined) return undefined
      return { step: { op, from: [x, y] }, shape: [...shape.slice(0, -1), shapes[y]![1] as number] }
    }
    case 'sum':
    case 'mean':
    case 'max':
      if (shape.length === 0) return undefined
      return { step: { op, from: [x], dim }, shape: shape.toSpliced(dim, 1) }
    case 'softmax':
      return shape.length === 0 ? undefined : { step: { op, from: [x], dim }, shape }
    case 'transpose': {
      if (shape.length < 2 || dim === 0) return undefined
      const swapped = shape.with(0, shape[dim] as number).with(dim, shape[0] as number)
      return { step: { op, from: [x], dim }, shape: swapped }
    }
    case 'flatten':
      return { step: { op, from: [x] }, shape: [shape.reduce((n, size) => n * size, 1)] }
    case 'redistribute':
      return { step: { op, from: [x], to: placements(mesh, shape, next) }, shape }
    default:
      return { step: { op, from: [x] }, shape }
  }
}

/** What programs call, of either kind. */
function runStep(step: Step, values: Tensor[]): Tensor {
  const [x, y] = step.from.map((i) => values[i]) as [Tensor, Tensor]
  const { dim = 0 } = step
  switch (step.op) {
    case 'sum':
    case 'mean':
    case 'max':
      return x[step.op](dim)
    case 'softmax':
      return x.softmax(dim)
    case 'transpose':
      return x.transpose(0, dim)
    case 'flatten':
      return x.reshape([-1])
    case 'redistribute':
      return 'redistribute' in x
        ? ((x as unknown as DistributedTensor).redistribute(step.to ?? {}) as unknown as Tensor)
        : x.mul(1)
    case 'add':
    case 'sub':
    case 'mul':
    case 'matmul':
      return x[step.op](y)
    default:
      return x[step.op as 'tanh']()
  }
}

function input(program: Program, i: number): Tensor {
  const next = randomStream(program.seed + 7919 * (i + 1))
  const { shape } = program.inputs[i] as Program['inputs'][number]
  const count = shape.reduce((n, size) => n * size, 1)
  const values = Array.from({ length: count }, () => next(2001) - 1000)
  return program.dtype === 'i32'
    ? tensor(Int32Array.from(values), { shape })
    : tensor(
        Float32Array.from(values, (v) => v / 1000),
        { shape },
      )
}

/** Values and gradients of both runs, flat, in order; `change` lets a test break the distributed one. */
async function outcomes(program: Program, mesh: Mesh, change: (step: Step) => Step) {
  const pairs: { what: string; whole: Tensor; parts: DistributedTensor }[] = []
  const floats = program.dtype === 'f32'
  const result = scope(() => {
    const whole = program.inputs.map((_, i) => input(program, i))
    const parts = program.inputs.map(({ to }, i) => distribute(whole[i] as Tensor, mesh, to))
    const leaves = [...whole]
    const distributedLeaves = [...parts]
    if (floats) for (const leaf of [...leaves, ...distributedLeaves]) leaf.requiresGrad_()
    const values: Tensor[] = whole
    const others = parts as unknown as Tensor[]
    for (const step of program.steps) {
      values.push(runStep(step, values))
      others.push(autoRedistribute(() => runStep(change(step), others)))
    }
    values.forEach((value, i) => {
      pairs.push({
        what: `value ${i}`,
        whole: value,
        parts: others[i] as unknown as DistributedTensor,
      })
    })
    if (floats) {
      const last = pairs.at(-1) as (typeof pairs)[number]
      const all = last.whole.shape.map((_, d) => d)
      last.whole.mul(last.whole).sum(all).backward()
      autoRedistribute(() => last.parts.mul(last.parts).sum(all).backward())
      leaves.forEach((leaf, i) => {
        const gradient = (distributedLeaves[i] as DistributedTensor).grad
        if (leaf.grad === null || gradient === null) return
        pairs.push({ what: `gradient ${i}`, whole: leaf.grad.clone(), parts: gradient })
      })
    }
    return pairs.map(({ what, whole, parts }) => ({ what, a: whole, b: parts.full() }))
  })
  const read = await Promise.all(
    result.map(async ({ what, a, b }) => ({ what, a: await a.data(), b: await b.data() })),
  )
  for (const { a, b } of result) for (const each of [a, b]) each.dispose()
  return read
}

/** What differs first, undefined where nothing does. An error is a difference too. */
export async function difference(
  program: Program,
  fabric: Fabric,
  change: (step: Step) => Step = (step) => step,
): Promise<string | undefined> {
  const count = Object.values(program.mesh).reduce((n, size) => n * size, 1)
  const names = fabric.devices.slice(0, count).map(({ name }) => name)
  using mesh = fabric.mesh(program.mesh, names)
  try {
    for (const { what, a, b } of await outcomes(program, mesh, change)) {
      const scale = Math.max(1, ...[...a].map((v) => Math.abs(Number(v))))
      const bound = program.dtype === 'i32' ? 0 : 1e-4 * scale
      for (let i = 0; i < Math.max(a.length, b.length); i++) {
        const [x, y] = [Number(a[i]), Number(b[i])]
        if (!(Math.abs(x - y) <= bound) && !(Number.isNaN(x) && Number.isNaN(y))) {
          return `${what}, element ${i}: one device ${x}, over the mesh ${y}`
        }
      }
    }
  } catch (error) {
    return String(error)
  }
  return undefined
}

/** A smaller program that still differs: steps go while it does. */
export async function shrink(
  program: Program,
  differs: (smaller: Program) => Promise<boolean>,
): Promise<Program> {
  let best = program
  for (let changed = true; changed; ) {
    changed = false
    for (let k = best.steps.length - 1; k >= 0; k--) {
      const smaller = without(best, k)
      if (smaller === undefined || !(await differs(smaller))) continue
      best = smaller
      changed = true
    }
  }
  return best
}

/** The program without step k, where no later step needs it. */
function without(program: Program, k: number): Program | undefined {
  const value = program.inputs.length + k
  if (program.steps.some(({ from }) => from.includes(value))) return undefined
  const steps = program.steps.toSpliced(k, 1).map((step) => ({
    ...step,
    from: step.from.map((i) => (i > value ? i - 1 : i)),
  }))
  return { ...program, steps }
}

/** One line a step. */
export function programText({ seed, mesh, dtype, inputs, steps }: Program): string {
  const lines = inputs.map(
    ({ shape, to }, i) => `  v${i} = ${dtype} [${shape}] ${JSON.stringify(to)}`,
  )
  steps.forEach(({ op, from, dim, to }, k) => {
    const extra = [...(dim === undefined ? [] : [dim]), ...(to ? [JSON.stringify(to)] : [])]
    const args = [...from.map((i) => `v${i}`), ...extra].join(', ')
    lines.push(`  v${inputs.length + k} = ${op}(${args})`)
  })
  return `seed ${seed}, mesh ${JSON.stringify(mesh)}\n${lines.join('\n')}`
}
