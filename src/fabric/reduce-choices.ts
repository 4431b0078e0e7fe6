// What `weft tune` measured: for ranks, dtype and placement the algorithms of an all-reduce by size, the fastest
// first. How figures become lines, the file they are kept in, and what is refused of one. Pure; tuned-choices.ts
// keeps and applies the file, tune.ts measures.
import { CheckpointError } from '../native/errors.js'
import { type DType, dtypeNames } from '../tensor/dtype.js'

const format = 'weft-reduce-choices'
const formatVersion = 1
/** An algorithm must be so much faster to go before the one of the next smaller size: figures scatter. */
const margin = 0.97

/** Calls up to `maxBytes` (null: any) get the first of `algorithms` that is there and can do them. */
export interface ReduceLine {
  maxBytes: number | null
  algorithms: string[]
}

/** Lines of one kind of call, sizes ascending. */
export interface ReduceEntry {
  ranks: number
  dtype: DType
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
  a.ranks === b.ranks && a.dtype === b.dtype && a.inPlace === b.inPlace

/** A file's content: `kept` entries, with those that were measured anew replaced. */
export function mergeChoices(
  machine: MachineFacts,
  kept: readonly ReduceEntry[],
  measured: readonly ReduceEntry[],
): ReduceChoices {
  const others = kept.filter((old) => !measured.some((entry) => isSame(entry, old)))
  const entries = [...others, ...measured].sort(
    (a, b) =>
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
      `${source} holds no choices of all-reduce: ${why}. \`weft tune\` makes it anew`,
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
  return value as unknown as ReduceChoices
}

function isEntry(value: unknown): boolean {
  if (!isRecord(value)) return false
  const { ranks, dtype, inPlace, lines } = value
  return (
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
