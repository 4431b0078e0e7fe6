// Redistribution: the steps from one list of placements to another, what they cost, and doing them. Plans
// are cached a mesh, shape and pair of placements. Each step changes one axis, in all its groups, and
// has an exact adjoint, so gradients flow back by the opposite step.
//
//   from \ to     replicated          sharded(j)                 partial
//   replicated    –                   a view                     the first keeps it, the others have 0
//   sharded(i)    all-gather          all-to-all                 padded with zeros
//   partial       all-reduce          reduce-scatter             –
//
// Terms of a maximum or minimum: the whole is such terms as it is, and what is cut becomes whole first.
//
// Where sizes do not divide, copies take the place of all-gather, and an all-reduce that of reduce-scatter.

import type { Group } from '../fabric/group.js'
import { cat, narrow, transpose } from '../tensor/generated/functions.js'
import { zeros } from '../tensor/operators/factory.js'
import { scope } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import { allGather, allReduce, allToAll, gather, reduceScatter } from './collectives.js'
import type { DistributedTensor } from './distributed-tensor.js'
import { localElements, splitSizes, splitStarts } from './layout.js'
import { makeDistributed } from './make.js'
import type { Mesh } from './mesh.js'
import type { Placement } from './placement.js'
import { isTerms, replicated, samePlacement } from './placement.js'

/** One axis changes. */
interface Step {
  axis: number
  from: Placement
  to: Placement
  /** Elements that each device receives, at most. */
  elements: number
  /** Makes the new parts alone, nothing on the way that a scope would have to free. */
  direct: boolean
}

const plans = new WeakMap<Mesh, Map<string, readonly Step[]>>()

/** The steps from `from` to `to`, in an order in which no dimension is ever cut along two axes. */
export function planOf(
  mesh: Mesh,
  shape: readonly number[],
  from: readonly Placement[],
  to: readonly Placement[],
): readonly Step[] {
  let known = plans.get(mesh)
  if (known === undefined) plans.set(mesh, (known = new Map()))
  const key = keyOf(shape, from, to)
  let plan = known.get(key)
  if (plan === undefined) known.set(key, (plan = makePlan(mesh, shape, from, to)))
  return plan
}

/** Sizes, then one number a placement. */
function keyOf(
  shape: readonly number[],
  from: readonly Placement[],
  to: readonly Placement[],
): string {
  let key = ''
  for (const size of shape) key += `${size},`
  for (const list of [from, to]) {
    for (const p of list)
      key += p.kind === 'sharded' ? `;${p.dim}` : p.kind === 'partial' ? `;${p.op}` : ';r'
  }
  return key
}

function makePlan(
  mesh: Mesh,
  shape: readonly number[],
  from: readonly Placement[],
  to: readonly Placement[],
): Step[] {
  const now = [...from]
  const steps: Step[] = []
  const change = (axis: number, next: Placement) => {
    const present = now[axis] as Placement
    const extreme = next.kind === 'partial' && !isTerms(next)
    const combined = present.kind === 'partial' && next.kind === 'partial'
    if (combined || (extreme && present.kind === 'sharded')) {
      change(axis, replicated())
      change(axis, next)
      return
    }
    const elements = received(mesh, shape, now, axis, next)
    const direct = isDirect(shape, present, next, mesh.shape[axis] as number)
    steps.push({ axis, from: present, to: next, elements, direct })
    now[axis] = next
  }
  const free = (axis: number) => {
    const next = to[axis] as Placement
    return now.every((p, b) => b === axis || next.kind !== 'sharded' || !samePlacement(p, next))
  }
  for (;;) {
    const open = now.flatMap((p, a) => (samePlacement(p, to[a] as Placement) ? [] : [a]))
    if (open.length === 0) return steps
    // Cuts first: what moves later is smaller then.
    const ready = open.filter(free)
    const cuts = ready.find((a) => to[a]?.kind === 'sharded')
    const next = cuts ?? ready[0]
    if (next !== undefined) change(next, to[next] as Placement)
    else change(open[0] as number, replicated()) // two axes exchange their dimensions
  }
}

function isDirect(
  shape: readonly number[],
  from: Placement,
  to: Placement,
  parts: number,
): boolean {
  if (from.kind === 'replicated' || parts === 1) return true
  if (from.kind === 'partial' && to.kind === 'replicated') return true
  if (from.kind === 'partial' && !isTerms(from)) return false
  const cut = from.kind === 'partial' ? to : from
  const collective = from.kind === 'partial' ? to.kind === 'sharded' : to.kind === 'replicated'
  if (!collective || cut.kind !== 'sharded') return false
  return cut.dim === 0 && (shape[0] as number) % parts === 0
}

/** Elements that each device receives when `axis` changes to `next`. */
function received(
  mesh: Mesh,
  shape: readonly number[],
  now: readonly Placement[],
  axis: number,
  next: Placement,
): number {
  const n = mesh.shape[axis] as number
  const present = now[axis] as Placement
  const held = localElements(mesh, now.with(axis, replicated()), shape)
  if (present.kind === 'replicated' || next.kind === 'partial' || n === 1) return 0
  const others = (n - 1) / n
  if (present.kind === 'sharded')
    return next.kind === 'sharded' ? (held / n) * others : held * others
  const even = next.kind === 'sharded' && isTerms(present) && (shape[next.dim] as number) % n === 0
  return even ? held * others : 2 * held * others
}

/** Bytes that each device receives, at most, when a tensor is redistributed. */
export function redistributionBytes(
  mesh: Mesh,
  shape: readonly number[],
  from: readonly Placement[],
  to: readonly Placement[],
  elementBytes: number,
): number {
  const steps = planOf(mesh, shape, from, to)
  return Math.ceil(steps.reduce((sum, step) => sum + step.elements, 0) * elementBytes)
}

/** `x` with other placements; a new object over the same parts where nothing changes. */
export function redistributed(x: DistributedTensor, to: readonly Placement[]): DistributedTensor {
  const plan = planOf(x.mesh, x.shape, x.placed, to)
  const move = () => {
    let parts: readonly Tensor[] = x.locals
    for (const step of plan) parts = run(x.mesh, x.shape, step, parts)
    // A part that did not move gets an object of its own: whoever disposes of x leaves it alone.
    return parts.map((part, p) => (part === x.locals[p] ? part.view(part.shape) : part))
  }
  const direct = plan.length === 0 || (plan.length === 1 && plan[0]?.direct)
  const locals = direct ? move() : scope(move)
  return makeDistributed(x.mesh, to, x.shape, locals)
}

function run(
  mesh: Mesh,
  shape: readonly number[],
  step: Step,
  locals: readonly Tensor[],
): Tensor[] {
  if (mesh.shape[step.axis] === 1) return [...locals]
  const out = [...locals]
  const groups = mesh.groupsAlong(step.axis)
  const lines = mesh.lines(step.axis)
  for (let g = 0; g < lines.length; g++) {
    const line = lines[g] as readonly number[]
    const parts = line.map((p) => locals[p] as Tensor)
    const changed = change(groups[g] as Group, shape, step, parts)
    for (let i = 0; i < line.length; i++) out[line[i] as number] = changed[i] as Tensor
  }
  return out
}

/** The parts of one group after a step. */
function change(
  group: Group,
  shape: readonly number[],
  { from, to }: Step,
  parts: Tensor[],
): Tensor[] {
  const n = parts.length
  if (from.kind === 'replicated') {
    if (to.kind === 'sharded') return cutEach(parts, to.dim, shape)
    return isTerms(to) ? parts.map((part, i) => (i === 0 ? part : blank(part, part.shape))) : parts
  }
  if (from.kind === 'partial') {
    const { op } = from
    if (to.kind !== 'sharded') return allReduce(group, parts, { op })
    const { dim } = to
    const scatters = op === 'sum' && (shape[dim] as number) % n === 0
    if (!scatters) return cutEach(allReduce(group, parts, { op }), dim, shape)
    return along(dim, parts, (list) => reduceScatter(group, list))
  }
  const { dim } = from
  const total = shape[dim] as number
  if (to.kind === 'partial') {
    const starts = splitStarts(total, n)
    return parts.map((part, i) => padded(part, dim, starts[i] as number, total))
  }
  if (to.kind === 'sharded') {
    const sizes = splitSizes(shape[to.dim] as number, n)
    return allToAll(group, parts, { splitDim: to.dim, joinDim: dim, sizes })
  }
  if (total % n === 0) return along(dim, parts, (list) => allGather(group, list))
  return parts.map((_, root) => gather(group, parts, { root, dim }))
}

/** Does along `dim` what `collective` does along dimension 0. */
function along(dim: number, parts: Tensor[], collective: (list: Tensor[]) => Tensor[]): Tensor[] {
  if (dim === 0) return collective(parts)
  return collective(parts.map((part) => transpose(part, 0, dim))).map((t) => transpose(t, 0, dim))
}

function cutEach(parts: readonly Tensor[], dim: number, shape: readonly number[]): Tensor[] {
  const starts = splitStarts(shape[dim] as number, parts.length)
  return parts.map((part, i) => {
    const start = starts[i] as number
    return narrow(part, dim, start, (starts[i + 1] as number) - start)
  })
}

function padded(part: Tensor, dim: number, start: number, total: number): Tensor {
  const before = part.shape.with(dim, start)
  const after = part.shape.with(dim, total - start - part.size(dim))
  return cat([blank(part, before), part, blank(part, after)], dim)
}

function blank(like: Tensor, shape: readonly number[]): Tensor {
  return zeros(shape, { dtype: like.dtype, device: like.device })
}
