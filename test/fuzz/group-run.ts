// Runs a random program over groups on its devices, each step on its own streams, and the same steps one after the
// other on one device, and compares every variable: bit by bit, but after a float sum that a ring ordered.
//
// Order on the devices: a variable remembers the stream of its last use; the next use on another stream waits for it by
// an event, and nothing else orders the steps.
import {
  collectives,
  createStream,
  currentStream,
  functional as F,
  type Fabric,
  Group,
  type Stream,
  scope,
  streamWait,
  type Tensor,
  tensor,
  type Work,
  withStream,
  zeros,
} from 'weft'
import {
  type GroupProgram,
  type GroupStep,
  type Place,
  streamsADevice,
  variables,
} from './group-program.js'
import { randomStream } from './program.js'

type CollectiveStep = Exclude<GroupStep, { to: Place }>
type Variables = Tensor[][]
/** A test's mistake: a step in place of another, on the devices alone. */
export type Swap = (step: GroupStep) => GroupStep

const streams = new Map<string, Stream[]>()

function streamsOf(device: string): Stream[] {
  const known = streams.get(device)
  if (known !== undefined) return known
  const made = Array.from({ length: streamsADevice }, () => createStream(device))
  streams.set(device, made)
  return made
}

function startValues(program: GroupProgram, names: readonly string[]): Variables {
  const { dtype, seed } = program
  const integer = dtype.startsWith('i')
  return names.map((device, d) =>
    Array.from({ length: variables }, (_, at) => {
      const next = randomStream(seed + 101 * d + 7 * at)
      const numbers = Float64Array.from({ length: program.elements }, () =>
        integer ? next(7) - 3 : (next(4001) - 2000) / 1000,
      )
      return scope(() => tensor(numbers, { device }).to(dtype).clone())
    }),
  )
}

/** The tensors of a collective's ranks after it, made by operators of one device. */
function reference(step: CollectiveStep, parts: readonly Tensor[]): Tensor[] {
  const n = parts.length
  const combined = (list: readonly Tensor[] = parts) => {
    const all = list.reduce((a, b) =>
      step.reduce === 'max' ? a.maximum(b) : step.reduce === 'min' ? F.minimum(a, b) : a.add(b),
    )
    return step.reduce === 'avg' ? all.mul(1 / list.length) : all
  }
  const root = parts[step.root] as Tensor
  const after = (r: number) => parts[(r + 1) % n] as Tensor
  switch (step.op) {
    case 'broadcast':
      return parts.map(() => parts[step.root] as Tensor)
    case 'reduce':
      return parts.map((part, r) => (r === step.root ? combined() : part))
    case 'allGather':
      return parts.map((_, r) => parts[(r + 1) % n] as Tensor)
    case 'gather':
      return parts.with(step.root, parts[(step.root + 1) % n] as Tensor)
    case 'scatter':
      return parts.map((_, r) => signed(parts[step.root] as Tensor, r))
    case 'allToAll':
      return parts.map((_, r) => signed(parts[(r + 1) % n] as Tensor, r))
    case 'allToAllUneven':
      return parts.map((part, r) => {
        const count = blockSize(part.size(0), (r + 1) % n, r)
        const rest = part.narrow(0, count, part.size(0) - count)
        return F.cat([signed(after(r).narrow(0, 0, count), r), rest])
      })
    case 'sendReceive':
      return parts.with((step.root + 1) % n, root)
    case 'split':
      return parts.map((_, r) => combined(parts.filter((_, q) => q % 2 === r % 2)))
    case 'coalesce':
      return parts.map((_, r) => (r === step.root ? after(r) : combined(parts.map(() => root))))
    case 'beside':
      return parts.map((_, r) => (r % 2 === 0 ? combined() : root))
    default:
      return parts.map(() => combined())
  }
}

/** What goes to rank r differs from what goes to its neighbours. */
const signed = (part: Tensor, r: number) => (r % 2 === 0 ? part : part.neg())

/** Elements that rank r sends to rank q of an uneven all-to-all. */
const blockSize = (size: number, r: number, q: number) => (size * ((r + 2 * q) % 3)) >> 1

/** The same by the group: in place, or the tensors that it made. */
function collective(
  group: Group,
  step: CollectiveStep,
  parts: readonly Tensor[],
): { works: Work[]; made: readonly Tensor[] } {
  const { root } = step
  const options = { op: step.reduce, root }
  const n = parts.length
  const size = (parts[0] as Tensor).size(0)
  const forAll = (part: Tensor) => F.cat(parts.map((_, r) => signed(part, r)))
  /** Each rank takes its neighbour's part. */
  const neighbours = (all: Tensor, r: number) => all.narrow(0, ((r + 1) % n) * size, size).clone()
  switch (step.op) {
    case 'functional':
      return { works: [], made: collectives.allReduce(group, parts, options) }
    case 'allGather': {
      const joined = parts.map((part) => F.cat(parts.map(() => part)))
      const works = [group.allGather(parts, joined)]
      return { works, made: joined.map(neighbours) }
    }
    case 'allToAll': {
      const all = parts.map(forAll)
      const works = [group.allToAll(all)]
      return { works, made: all.map(neighbours) }
    }
    case 'gather': {
      const all = forAll(parts[root] as Tensor)
      const works = [group.gather(parts, all, { root })]
      return { works, made: parts.with(root, neighbours(all, root)) }
    }
    case 'scatter': {
      const made = parts.map((part) => part.clone())
      return { works: [group.scatter(forAll(parts[root] as Tensor), made, { root })], made }
    }
    case 'sendReceive': {
      const to = (root + 1) % n
      const work = group.sendReceive(parts[root] as Tensor, parts[to] as Tensor, { from: root, to })
      return { works: [work], made: parts }
    }
    case 'allToAllUneven': {
      const counts = parts.map((_, r) => parts.map((_, q) => blockSize(size, r, q)))
      const inputs = parts.map((part, r) =>
        F.cat(parts.map((_, q) => signed(part.narrow(0, 0, blockSize(size, r, q)), q))),
      )
      const received = (q: number, ranks: number) =>
        counts.slice(0, ranks).reduce((sum, row) => sum + (row[q] as number), 0)
      const outputs = parts.map((part, q) => zeros([received(q, n)], part))
      const works = [group.allToAllUneven(inputs, outputs, counts)]
      const made = parts.map((part, q) => {
        const from = (q + 1) % n
        const count = blockSize(size, from, q)
        const block = (outputs[q] as Tensor).narrow(0, received(q, from), count)
        return F.cat([block, part.narrow(0, count, size - count)])
      })
      return { works, made }
    }
    case 'split': {
      const groups = group.split(parts.map((_, r) => r % 2))
      const each = [...new Set(groups)] as Group[]
      const works = each.map((part) =>
        part.allReduce(
          parts.filter((_, r) => groups[r] === part),
          { op: step.reduce },
        ),
      )
      for (const part of each) part.dispose()
      return { works, made: parts }
    }
    case 'coalesce': {
      const joined = parts.map((part) => F.cat(parts.map(() => part)))
      const work = group.coalesce(() => {
        group.allGather(parts, joined)
        group.broadcast(parts, { root })
        group.allReduce(parts, options)
      })
      return { works: [work], made: parts.with(root, neighbours(joined[root] as Tensor, root)) }
    }
    case 'beside': {
      const [sums, copies] = [parts.map((part) => part.clone()), parts.map((part) => part.clone())]
      const other = Group.create(group.devices)
      const works = [group.allReduce(sums, options), other.broadcast(copies, { root })]
      other.dispose()
      return { works, made: parts.map((_, r) => (r % 2 === 0 ? sums : copies)[r] as Tensor) }
    }
    case 'reduceScatter': {
      const joined = parts.map((part) => F.cat(parts.map(() => part)))
      const made = parts.map((part) => part.clone())
      return { works: [group.reduceScatter(joined, made, options)], made }
    }
    default:
      return { works: [group[step.op](parts, options)], made: parts }
  }
}

function onOneDevice(program: GroupProgram, all: Variables): void {
  for (const step of program.steps) {
    scope(() => {
      if ('to' in step) {
        local(step, all, (from) => from)
        return
      }
      const parts = step.ranks.map((device, r) => at(all, { device, at: step.at[r] as number }))
      const after = reference(step, parts).map((part) => part.clone())
      parts.forEach((part, r) => {
        part.copy_(after[r] as Tensor)
      })
    })
  }
}

const at = (all: Variables, { device, at: k }: Place) => (all[device] as Tensor[])[k] as Tensor

function local(
  step: Exclude<GroupStep, CollectiveStep>,
  all: Variables,
  here: (from: Tensor) => Tensor,
): void {
  const to = at(all, step.to)
  if (step.op === 'half') to.mul_(0.5)
  else if (step.op === 'copy') to.copy_(here(at(all, step.from)))
  else if (step.op === 'add') to.add_(at(all, step.from))
  else to.sub_(at(all, step.from))
}

class OnDevices {
  readonly #last = new Map<Tensor, Stream>()
  readonly #groups = new Map<string, Group>()
  readonly works: Work[] = []
  constructor(
    readonly fabric: Fabric,
    readonly names: readonly string[],
    readonly all: Variables,
  ) {
    for (const list of all)
      for (const each of list) this.#last.set(each, currentStream(each.device))
  }

  /** `stream` goes on behind the last use of `tensor`, and is its last use now. */
  #use(tensor: Tensor, stream: Stream): void {
    const before = this.#last.get(tensor)
    if (before !== undefined && before !== stream) streamWait(stream, before)
    this.#last.set(tensor, stream)
  }

  run(step: GroupStep): void {
    if (!('to' in step)) {
      this.#collective(step)
      return
    }
    const here = streamsOf(this.names[step.to.device] as string)[step.stream] as Stream
    this.#use(at(this.all, step.to), here)
    if (!('from' in step)) {
      withStream(here, () => local(step, this.all, (from) => from))
      return
    }
    const from = at(this.all, step.from)
    const there = streamsOf(from.device)[step.stream] as Stream
    this.#use(from, there)
    const device = here.device
    withStream(there, () =>
      withStream(here, () =>
        scope(() => local(step, this.all, (source) => source.to({ device }).clone())),
      ),
    )
  }

  #collective(step: CollectiveStep): void {
    const key = step.ranks.join()
    const group =
      this.#groups.get(key) ?? this.fabric.group(step.ranks.map((d) => this.names[d] as string))
    this.#groups.set(key, group)
    const parts = step.ranks.map((device, r) => at(this.all, { device, at: step.at[r] as number }))
    const used = parts.map((part, r) => streamsOf(part.device)[step.streams[r] as number] as Stream)
    parts.forEach((part, r) => {
      this.#use(part, used[r] as Stream)
    })
    const run = () =>
      scope(() => {
        const { works, made } = collective(group, step, parts)
        this.works.push(...works)
        made.forEach((part, r) => {
          if (part !== parts[r]) parts[r]?.copy_(part)
        })
      })
    used.reduceRight<() => void>((inner, stream) => () => withStream(stream, inner), run)()
  }

  /** Every device's own stream goes on behind everything. */
  join(): void {
    for (const [variable, stream] of this.#last) {
      streamWait({ device: variable.device, id: 0 }, stream)
    }
    for (const group of this.#groups.values()) group.dispose()
  }
}

/** Sums of floats that copy-ring ordered are not in rank order; averages are rounded once more. */
function isExact({ dtype, elements, steps }: GroupProgram): boolean {
  if (dtype.startsWith('i')) return true
  const bytes = elements * (dtype === 'f64' ? 8 : 4)
  return steps.every((step) => {
    if ('to' in step || step.reduce === 'max' || step.reduce === 'min') return true
    if (step.op === 'reduce' || step.op === 'reduceScatter') return false
    const combines = ['allReduce', 'functional', 'split', 'coalesce', 'beside'].includes(step.op)
    return !combines || (step.reduce === 'sum' && bytes <= 65_536)
  })
}
const rounding = { f32: 1e-5, f64: 1e-13, f16: 2e-2, bf16: 1e-1, i32: 0, i64: 0 }

/** What differs first, undefined where nothing does. An error is a difference too. */
export async function groupDifference(
  program: GroupProgram,
  fabric: Fabric,
  swap: Swap = (step) => step,
): Promise<string | undefined> {
  const names = fabric.devices.slice(0, program.devices).map(({ name }) => name)
  const first = names[0] as string
  const whole = startValues(
    program,
    names.map(() => first),
  )
  const parts = startValues(program, names)
  try {
    onOneDevice(program, whole)
    const devices = new OnDevices(fabric, names, parts)
    for (const step of program.steps) devices.run(swap(step))
    devices.join()
    await Promise.all(devices.works.map(({ done }) => done))
    const bound = isExact(program) ? 0 : rounding[program.dtype] * program.largest
    for (const [d, list] of parts.entries()) {
      for (const [k, part] of list.entries()) {
        const [x, y] = await Promise.all([read(at(whole, { device: d, at: k })), read(part)])
        const i = x.findIndex((value, e) => !(Math.abs(value - (y[e] as number)) <= bound))
        if (i >= 0) return `d${d}.v${k}, element ${i}: one device ${x[i]}, on the devices ${y[i]}`
      }
    }
  } catch (error) {
    return String(error)
  } finally {
    await fabric.synchronize()
    for (const list of [...whole, ...parts]) for (const each of list) each.dispose()
  }
  return undefined
}

async function read(value: Tensor): Promise<number[]> {
  const numbers = value.dtype.endsWith('f16') ? value.to('f32') : value.clone()
  try {
    return Array.from(await numbers.data(), Number)
  } finally {
    numbers.dispose()
  }
}
