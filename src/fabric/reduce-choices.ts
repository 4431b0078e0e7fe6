// What `weft tune` measured: for kind, ranks, dtype and placement the algorithms of a collective by size, the fastest
// first. How figures become lines, the file they are kept in, and what is refused of one. Pure; tuned-choices.ts
// keeps and applies the file, tune.ts measures.
import { CheckpointError } from '../native/errors.js'
import { type DType, dtypeNames } from '../tensor/dtype.js'

const format = 'weft-reduce-choices'
const formatVersion = 1
/** An algorithm must be so much faster to go before the one of the next smaller size: figures scatter. */
const margin = 0.97

/** Kinds of calls that are measured; entries of files from before there were more than one have none. */
export const tunedKinds = ['allReduce', 'reduceScatter', 'allGather'] as const
/** A kind of call that is measured. */
export type TunedKind = (typeof tunedKinds)[number]

/** Calls up to `maxBytes` (null: any) get the first of `algorithms` that is there and can do them. */
export interface ReduceLine {
  maxBytes: number | null
  algorithms: string[]
}

/** Lines of one kind of call, sizes ascending and of the longer buffer of a rank. */
export interface ReduceEntry {
  kind: TunedKind
  ranks: number
  /** What was measured; an all-gather's lines are for every dtype. */
  dtype: DType
  /** Of all-reduces; others are measured out of place and have false. */
  inPlace: boolean
  lines: ReduceLine[]
}

/** What a machine's choices depend on. */
export interface MachineFacts {
  weft: string
  /** "580.95.05"; "" without GPUs. */
  driver: string
  /** Each kind of device once. */
  devices: string[]
  /** Each kind of link once. */
  links: string[]
}

export interface ReduceChoices {
  format: typeof format
  version: number
  machine: MachineFacts
  entries: ReduceEntry[]
}

/** What each algorithm took at one size, in microseconds. */
export interface SizeFigures {
  bytes: number
  us: Record<string, number>
}

/** Algorithms from fast to slow; `before`, the first of the next smaller size, stays first within the margin. */
function ranking(us: Record<string, number>, before: string | undefined): string[] {
  const cost = ([name, time]: [string, number]) => (name === before ? time * margin : time)
  return Object.entries(us)
    .sort((a, b) => cost(a) - cost(b))
    .map(([name]) => name)
}

/** Lines from figures in ascending sizes: a border between two winners lies halfway, by factors. */
export function linesOf(figures: readonly SizeFigures[]): ReduceLine[] {
  const ranked: { bytes: number; algorithms: string[] }[] = []
  for (const { bytes, us } of figures) {
    const algorithms = ranking(us, ranked.at(-1)?.algorithms[0])
    if (algorithms.length > 0) ranked.push({ bytes, algorithms })
  }
  const lines: ReduceLine[] = []
  ranked.forEach(({ bytes, algorithms }, i) => {
    const next = ranked[i + 1]
    const same = next !== undefined && next.algorithms.join() === algorithms.join()
    if (same) return
    const maxBytes = next === undefined ? null : Math.floor(Math.sqrt(bytes * next.bytes))
    lines.push({ maxBytes, algorithms })
  })
  return lines
}

const isSame = (a: ReduceEntry, b: ReduceEntry) =>
  a.kind === b.kind &&
  a.ranks === b.ranks &&
  (a.kind === 'allGather' || a.dtype === b.dtype) &&
  a.inPlace === b.inPlace

/** A file's content: `kept` entries, with those that were measured anew replaced. */
export function mergeChoices(
  machine: MachineFacts,
  kept: readonly ReduceEntry[],
  measured: readonly ReduceEntry[],
): ReduceChoices {
  const others = kept.filter((old) => !measured.some((entry) => isSame(entry, old)))
  const entries = [...others, ...measured].sort(
    (a, b) =>
      tunedKinds.indexOf(a.kind) - tunedKinds.indexOf(b.kind) ||
      a.ranks - b.ranks ||
      dtypeNames.indexOf(a.dtype) - dtypeNames.indexOf(b.dtype) ||
      Number(a.inPlace) - Number(b.inPlace),
  )
  return { format, version: formatVersion, machine, entries }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads the file's text. Throws CheckpointError, naming `source`, for anything that is no such file. */
export function parseReduceChoices(text: string, source: string): ReduceChoices {
  const refuse = (why: string): never => {
    throw new CheckpointError(
      `${source} holds no choices of collectives: ${why}. \`weft tune\` makes it anew`,
      { source },
    )
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return refuse(`it is not JSON (${(error as Error).message})`)
  }
  if (!isRecord(value) || value.format !== format) return refuse(`it has no format "${format}"`)
  if (value.version !== formatVersion) return refuse(`this weft reads version ${formatVersion}`)
  if (!isRecord(value.machine)) return refuse('it does not say of which machine it is')
  if (!Array.isArray(value.entries)) return refuse('it has no entries')
  for (const [i, entry] of value.entries.entries()) {
    if (!isEntry(entry)) return refuse(`entry ${i + 1} is damaged`)
  }
  const choices = value as unknown as ReduceChoices
  const entries = choices.entries.map((entry) => ({ ...entry, kind: entry.kind ?? 'allReduce' }))
  return { ...choices, entries }
}

function isEntry(value: unknown): boolean {
  if (!isRecord(value)) return false
  const { kind, ranks, dtype, inPlace, lines } = value
  return (
    (kind === undefined || tunedKinds.includes(kind as TunedKind)) &&
    Number.isInteger(ranks) &&
    (ranks as number) >= 2 &&
    dtypeNames.includes(dtype as DType) &&
    typeof inPlace === 'boolean' &&
    Array.isArray(lines) &&
    lines.length < 1000 &&
    lines.every(isLine)
  )
}

function isLine(value: unknown): boolean {
  if (!isRecord(value)) return false
  const { maxBytes, algorithms } = value
  const bounded = Number.isSafeInteger(maxBytes) && (maxBytes as number) > 0
  return (
    (maxBytes === null || bounded) &&
    Array.isArray(algorithms) &&
    algorithms.length > 0 &&
    algorithms.every((name) => typeof name === 'string' && /^[\w-]{1,63}$/.test(name))
  )
}
