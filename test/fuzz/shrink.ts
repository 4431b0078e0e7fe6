// Makes a program that differs smaller while it still differs: fewer steps, plain placements, a smaller mesh, no
// gradients. Each candidate is run; the first that still differs is taken.
import { replicated } from 'weft'
import type { GroupProgram } from './group-program.js'
import type { Program, Step } from './program.js'

/** The smallest program found for which `differs` holds; at most `tries` are run. */
export async function shrink<P>(
  program: P,
  smallerOnes: (program: P) => Iterable<P>,
  differs: (smaller: P) => Promise<boolean>,
  tries = 400,
): Promise<P> {
  let best = program
  let left = tries
  for (let changed = true; changed && left > 0; ) {
    changed = false
    for (const smaller of smallerOnes(best)) {
      if (left-- <= 0) break
      if (!(await differs(smaller))) continue
      best = smaller
      changed = true
      break
    }
  }
  return best
}

/** Programs over distributed tensors that are smaller, the largest cuts first. */
export function* smallerPrograms(program: Program): Generator<Program> {
  const { steps } = program
  // Ends earlier.
  for (let end = 1; end < steps.length; end++) yield { ...program, steps: steps.slice(0, end) }
  for (let k = steps.length - 1; k >= 0; k--) yield* without(program, k)
  if (program.gradients) yield { ...program, gradients: false }
  yield* withSmallerMesh(program)
  for (const [k, step] of steps.entries()) {
    for (const [axis, placement] of Object.entries(step.to ?? {})) {
      if (placement.kind === 'replicated') continue
      const to = { ...step.to, [axis]: replicated() }
      yield { ...program, steps: steps.with(k, { ...step, to }) }
    }
  }
}

/** Programs over groups that are smaller: fewer steps, fewer elements. */
export function* smallerGroupPrograms(program: GroupProgram): Generator<GroupProgram> {
  const { steps, elements } = program
  for (let size = steps.length >> 1; size >= 1; size >>= 1) {
    for (let k = 0; k + size <= steps.length; k += size) {
      if (steps.length > size) yield { ...program, steps: steps.toSpliced(k, size) }
    }
  }
  if (elements > 1) yield { ...program, elements: elements >> 1 }
}

/** Step k left out: unused, or with a value of its shape in its place. */
function* without(program: Program, k: number): Generator<Program> {
  const { steps } = program
  const gone = steps[k] as Step
  const used = steps.some(({ from }) => from.includes(k))
  const alike = (i: number) =>
    `${steps[i]?.shape}` === `${gone.shape}` && (steps[i]?.below ?? -1) === (gone.below ?? -1)
  const places = used ? gone.from.filter(alike) : [-1]
  for (const place of places) {
    const move = (i: number) => (i === k ? place : i > k ? i - 1 : i)
    const rest = steps.toSpliced(k, 1).map((step) => ({ ...step, from: step.from.map(move) }))
    if (rest.length > 0) yield { ...program, steps: rest }
  }
}

function* withSmallerMesh(program: Program): Generator<Program> {
  const axes = Object.keys(program.mesh)
  for (const axis of axes) {
    const size = program.mesh[axis] as number
    if (size > 2) yield { ...program, mesh: { ...program.mesh, [axis]: size - 1 } }
    if (axes.length === 1) continue
    const drop = (record: object | undefined) =>
      Object.fromEntries(Object.entries(record ?? {}).filter(([name]) => name !== axis))
    const steps = program.steps.map((step) => (step.to ? { ...step, to: drop(step.to) } : step))
    yield { ...program, mesh: drop(program.mesh), steps }
  }
}
