// What a benchmark of collectives found, and the figures made of it: quantiles, bandwidth as nccl-tests defines it,
// shares of rates. report.ts and plot.ts show them. Pure.
import type { BenchKind } from '../../fabric/reduce-bench.js'

export interface Quantiles {
  min: number
  median: number
  p99: number
}

/** One contestant at one size. Times are microseconds a call, over rounds. */
export interface ReduceRow {
  label: string
  /** Of weft's; '' for NCCL. */
  algorithm: string
  bytes: number
  /** As nccl-tests counts: of an all-reduce all elements, else those of a slice. */
  count: number
  dtype: string
  /** 'none': of an all-gather. */
  op: 'sum' | 'none'
  eager?: Quantiles
  graph?: Quantiles
  /** 10⁹ bytes a second: of the median, the better of the two ways to call. */
  algGBs: number
  busGBs: number
  /** Elements that were not the sum; undefined: not looked at. */
  wrong?: number
  error?: string
}

/** What of the link a collective may reach, in 10⁹ bytes a second and direction; 0: not known. */
export interface Rates {
  /** Copy engines, both directions at once. */
  copy: number
  /** Loads and stores of a kernel, both directions at once. */
  store: number
  /** As the link promises. */
  line: number
}

export function quantiles(samples: readonly number[]): Quantiles | undefined {
  if (samples.length === 0) return undefined
  const sorted = [...samples].sort((a, b) => a - b)
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] as number
  return { min: sorted[0] as number, median: at(0.5), p99: at(0.99) }
}

/** nccl-tests' factor: what each rank must send, over the size. */
export const busFactor = (ranks: number, kind: BenchKind = 'allReduce'): number =>
  ((kind === 'allReduce' ? 2 : 1) * (ranks - 1)) / ranks

export interface RowFacts {
  label: string
  algorithm: string
  bytes: number
  elementBytes: number
  dtype: string
  ranks: number
  /** All-reduce when missing. */
  kind?: BenchKind
  eagerUs: readonly number[]
  graphUs: readonly number[]
  wrong?: number
  error?: string
}

export function makeRow(facts: RowFacts): ReduceRow {
  const kind = facts.kind ?? 'allReduce'
  const eager = quantiles(facts.eagerUs)
  const graph = quantiles(facts.graphUs)
  const best = Math.min(...[eager, graph].map((each) => each?.median ?? Number.POSITIVE_INFINITY))
  const algGBs = facts.bytes / best / 1e3
  return {
    label: facts.label,
    algorithm: facts.algorithm,
    bytes: facts.bytes,
    count: facts.bytes / facts.elementBytes / (kind === 'allReduce' ? 1 : facts.ranks),
    dtype: facts.dtype,
    op: kind === 'allGather' ? 'none' : 'sum',
    ...(eager && { eager }),
    ...(graph && { graph }),
    algGBs,
    busGBs: algGBs * busFactor(facts.ranks, kind),
    ...(facts.wrong !== undefined && !facts.error && { wrong: facts.wrong }),
    ...(facts.error && { error: facts.error }),
  }
}

const isNccl = (row: ReduceRow) => row.label.startsWith('nccl')
export const fromTypeScript = 'weft from TypeScript'

/** weft as it chooses, and the fastest of each side, at one size and way of calling. */
export interface Comparison {
  bytes: number
  way: 'eager' | 'graph'
  weftUs: number
  bestWeftUs: number
  bestWeft: string
  ncclUs?: number
  nccl?: string
  /** NCCL's time over weft's: above 1 weft is faster. */
  ratio?: number
  bestRatio?: number
}

/** One line a size and way of calling; sizes without a figure of weft's own choice have none. */
export function compare(rows: readonly ReduceRow[]): Comparison[] {
  const sizes = [...new Set(rows.map((row) => row.bytes))]
  return sizes.flatMap((bytes) =>
    (['eager', 'graph'] as const).flatMap((way): Comparison[] => {
      const timed = rows
        .filter((row) => row.bytes === bytes && row.label !== fromTypeScript)
        .flatMap((row) => (row[way] ? [{ row, us: row[way].median }] : []))
        .sort((a, b) => a.us - b.us)
      const own = timed.find(({ row }) => row.label === 'weft')
      const best = timed.find(({ row }) => !isNccl(row))
      const nccl = timed.find(({ row }) => isNccl(row))
      if (own === undefined || best === undefined) return []
      return [
        {
          bytes,
          way,
          weftUs: own.us,
          bestWeftUs: best.us,
          bestWeft: best.row.algorithm,
          ...(nccl && {
            ncclUs: nccl.us,
            nccl: nccl.row.label,
            ratio: nccl.us / own.us,
            bestRatio: nccl.us / best.us,
          }),
        },
      ]
    }),
  )
}

const units: Record<string, number> = { '': 1, B: 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 }

/** '8', '64K', '1M', '8G', '4MiB' in bytes; undefined when it is none. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([BKMG]?)(?:i?B)?$/i.exec(text.trim())
  if (!match) return undefined
  const bytes = Number(match[1]) * (units[(match[2] as string).toUpperCase()] as number)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** From min to max by a factor, each a whole number of elements; max is the last at most. */
export function sizesBetween(min: number, max: number, factor: number, element: number): number[] {
  const sizes: number[] = []
  for (let size = Math.max(min, element); size <= max; size *= factor) {
    sizes.push(Math.floor(size / element) * element)
  }
  return [...new Set(sizes)]
}
