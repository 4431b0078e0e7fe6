// Random programs over groups: several streams a device, sub-groups that overlap and run beside each other, in-place
// operators, copies between devices, every collective and several as one, from a seed. group-run.ts runs them on their devices and on one device.
import { type Program as MeshProgram, randomStream } from './program.js'

export type Collective =
  | 'allReduce'
  | 'broadcast'
  | 'reduce'
  | 'allGather'
  | 'reduceScatter'
  | 'gather'
  | 'scatter'
  | 'allToAll'
  | 'allToAllUneven'
  | 'sendReceive'
  | 'functional'
  /** Ranks of each colour by themselves. */
  | 'split'
  /** Several calls as one. */
  | 'coalesce'
  /** Two groups of the same devices at once. */
  | 'beside'

/** Variable `at` of device `device`. */
export interface Place {
  device: number
  at: number
}
export type GroupStep =
  | { op: 'add' | 'sub' | 'copy'; to: Place; from: Place; stream: number }
  | { op: 'half'; to: Place; stream: number }
  | {
      op: Collective
      /** Devices by rank. */
      ranks: number[]
      /** A variable and a stream of each rank. */
      at: number[]
      streams: number[]
      reduce: 'sum' | 'max' | 'min' | 'avg'
      root: number
    }

export interface GroupProgram {
  seed: number
  devices: number
  dtype: MeshProgram['dtype']
  /** Elements of each variable. */
  elements: number
  /** How large a value on the way can be. */
  largest: number
  steps: GroupStep[]
}

export const variables = 3
export const streamsADevice = 3
const sizes = [1, 2, 7, 64, 257, 4099, 20_001]
const limit = 30_000
export const collectives: readonly Collective[] = [
  'allReduce',
  'broadcast',
  'reduce',
  'allGather',
  'reduceScatter',
  'gather',
  'scatter',
  'allToAll',
  'allToAllUneven',
  'sendReceive',
  'functional',
  'split',
  'coalesce',
  'beside',
]

export function makeGroupProgram(seed: number, length: number): GroupProgram {
  const next = randomStream(seed)
  const pick = <T>(list: readonly T[]) => list[next(list.length)] as T
  const devices = 2 + next(7)
  const dtype = pick(['f32', 'f64', 'f16', 'bf16', 'i32', 'i64'] as const)
  const elements = pick(sizes)
  // Sums grow: where they could leave what every dtype holds exactly, another reduction takes their place.
  let largest = 3
  const place = (device = next(devices)): Place => ({ device, at: next(variables) })
  const steps = Array.from({ length }, (): GroupStep => {
    const stream = next(streamsADevice)
    const to = place()
    const kind = next(8)
    if (kind === 0)
      return { op: dtype.startsWith('i') ? 'copy' : 'half', to, from: place(), stream }
    if (kind === 1) return { op: 'copy', to, from: place(), stream }
    if (kind < 4 && largest < limit) {
      largest *= 2
      return { op: pick(['add', 'sub'] as const), to, from: place(to.device), stream }
    }
    const all = Array.from({ length: devices }, (_, d) => d)
    const size = 2 + next(devices - 1)
    const ranks = Array.from({ length: size }, () => all.splice(next(all.length), 1)[0] as number)
    const reductions = ['max', 'min', ...(dtype.startsWith('i') ? [] : ['avg'])] as const
    const sums = largest * size < limit && next(2) === 0
    if (sums) largest *= size
    return {
      op: pick(collectives),
      ranks,
      at: ranks.map(() => next(variables)),
      streams: ranks.map(() => next(streamsADevice)),
      reduce: sums ? 'sum' : (pick(reductions) as 'max' | 'min' | 'avg'),
      root: next(size),
    }
  })
  return { seed, devices, dtype, elements, largest, steps }
}

/** One line a step. */
export function groupProgramText({ seed, devices, dtype, elements, steps }: GroupProgram): string {
  const name = ({ device, at }: Place) => `d${device}.v${at}`
  const lines = steps.map((step) => {
    if ('to' in step) {
      const from = 'from' in step ? `, ${name(step.from)}` : ''
      return `  ${step.op}(${name(step.to)}${from}) on stream ${step.stream}`
    }
    const parts = step.ranks.map(
      (device, r) => `${name({ device, at: step.at[r] as number })} on stream ${step.streams[r]}`,
    )
    return `  ${step.op}(${parts.join(', ')}; ${step.reduce}, root ${step.root})`
  })
  return `seed ${seed}, ${devices} devices, ${dtype}, ${elements} elements\n${lines.join('\n')}`
}
