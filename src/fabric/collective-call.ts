// One collective call: its names, options and defaults, as numbers for the native calls. Group (all
// ranks) and RankGroup (one rank) share them.
import { words } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { requireTimeout } from './option-checks.js'

const kinds = {
  allReduce: 0,
  broadcast: 1,
  allGather: 2,
  reduceScatter: 3,
  reduce: 4,
  barrier: 5,
  gather: 7,
  scatter: 8,
  allToAll: 9,
  allToAllUneven: 11,
}
/** Reductions by number. */
export const reduceOps = ['sum', 'avg', 'max', 'min', 'prod'] as const

/** How elements of ranks are combined; 'avg' is the sum divided by the ranks. */
export type ReduceOp = (typeof reduceOps)[number]
/** @internal */
export type CollectiveName = keyof typeof kinds

export interface CollectiveOptions {
  /**
   * Deadline for all ranks to arrive and, counted again from then, for the result, ms. Default 30 000
   * and 600 000.
   */
  timeoutMs?: number
}
export interface ReduceCallOptions extends CollectiveOptions {
  /** Default 'sum'. */
  op?: ReduceOp
}
export interface RootOptions extends CollectiveOptions {
  /** Rank that sends or receives; default 0. */
  root?: number
}

/** @internal Numbers of a collective and its reduction for the native calls. */
export function callNumbers(
  name: CollectiveName,
  op: ReduceOp = 'sum',
): [kind: number, op: number] {
  const number = reduceOps.indexOf(op)
  if (number < 0) throw new UsageError(`op ${JSON.stringify(op)}: use ${reduceOps.join(', ')}`)
  return [kinds[name], number]
}

/** @internal Writes counts of elements, for the native calls of an uneven all-to-all. */
export function writeCounts(
  name: string,
  counts: readonly number[],
  size: number,
  at: number,
): void {
  if (counts.length !== size) {
    throw new UsageError(`${name}: ${size} ranks need ${size} counts, ${counts.length} were given`)
  }
  counts.forEach((count, i) => {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw new UsageError(`${name}: ${count} is no count of elements`)
    }
    words[at + i] = count
  })
}

/** @internal Deadlines of a call: for all ranks to arrive, and from then for the result. */
export function callLimits({ timeoutMs }: CollectiveOptions): [arriveMs: number, resultMs: number] {
  if (timeoutMs === undefined) return [30_000, 600_000]
  const limit = Math.ceil(requireTimeout(timeoutMs))
  return [limit, limit]
}
