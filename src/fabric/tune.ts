// Measures which algorithm an all-reduce, a reduce-scatter or an all-gather should get, by size, ranks, dtype and
// placement, and keeps it for this machine. `weft tune` calls it. An algorithm that gives wrong sums is never chosen.
import { writeJsonAtomically } from '../checkpoint/atomic-write.js'
import { CheckpointError } from '../native/errors.js'
import type { DType } from '../tensor/dtype.js'
import type { Fabric } from './fabric.js'
import { ReduceBench } from './reduce-bench.js'
import {
  linesOf,
  mergeChoices,
  type ReduceChoices,
  type ReduceEntry,
  type SizeFigures,
  type TunedKind,
} from './reduce-choices.js'
import { choicesFile, machineFacts, readChoices } from './tuned-choices.js'

export interface TuneOptions {
  kinds: readonly TunedKind[]
  /** Numbers of ranks; groups are the fabric's first devices. */
  ranks: readonly number[]
  dtypes: readonly DType[]
  /** Bytes of the longer buffer of a rank, ascending. */
  sizes: readonly number[]
  rounds: number
  /** Calls of a round, and in a graph, at a size. */
  calls(bytes: number): { calls: number; graphCalls: number }
  /** Told of each kind of call when it is measured. */
  onEntry?(entry: ReduceEntry, figures: SizeFigures[], faults: string[]): void
}

const median = (list: readonly number[]) =>
  [...list].sort((a, b) => a - b)[list.length >> 1] as number

/** One kind of call: each algorithm's mean of the medians called and in a graph. */
function measureEntry(
  fabric: Fabric,
  { kind, ranks, dtype, inPlace }: Omit<ReduceEntry, 'lines'>,
  options: TuneOptions,
): { figures: SizeFigures[]; faults: string[] } {
  using group = fabric.group(fabric.devices.slice(0, ranks).map(({ name }) => name))
  const maxBytes = Math.max(...options.sizes)
  using bench = new ReduceBench({ group, maxBytes, dtype, inPlace, kind })
  const figures: SizeFigures[] = []
  const faults: string[] = []
  for (const bytes of options.sizes) {
    const us: Record<string, number> = {}
    const plan = { bytes, rounds: options.rounds, ...options.calls(bytes) }
    for (const row of bench.measure(plan)) {
      if (row.label === 'weft') continue // one of those that follow
      const times = [row.eagerUs, row.graphUs].filter((list) => list.length > 0).map(median)
      if (row.error === '' && row.wrong === 0 && times.length > 0) {
        us[row.algorithm] = times.reduce((sum, time) => sum + time, 0) / times.length
      } else {
        const why = row.error === '' ? `${row.wrong} wrong elements` : row.error
        faults.push(`${row.algorithm}, ${bytes} bytes: ${why}`)
      }
    }
    figures.push({ bytes, us })
  }
  return { figures, faults }
}

/** Entries of other kinds of calls stay in the file; a damaged one is replaced. */
async function keep(fabric: Fabric, ranks: number, measured: ReduceEntry[]): Promise<TunedFile> {
  const facts = machineFacts(fabric.devices.slice(0, ranks).map(({ index }) => index))
  let kept: readonly ReduceEntry[] = []
  try {
    kept = readChoices(facts)?.entries ?? []
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error
  }
  const choices = mergeChoices(facts, kept, measured)
  const file = choicesFile(facts)
  await writeJsonAtomically(file, choices)
  return { file, choices }
}

export interface TunedFile {
  file: string
  choices: ReduceChoices
}

/** Kinds of calls; an all-gather moves bytes, whatever they are, so one dtype is all. */
function callsOf(ranks: number, { kinds, dtypes }: TuneOptions): Omit<ReduceEntry, 'lines'>[] {
  return kinds.flatMap((kind) =>
    (kind === 'allGather' ? dtypes.slice(0, 1) : dtypes).flatMap((dtype) =>
      (kind === 'allReduce' ? [false, true] : [false]).map((inPlace) => {
        return { kind, ranks, dtype, inPlace }
      }),
    ),
  )
}

/** Measures, and writes the file of these devices after each number of ranks. */
export async function tune(fabric: Fabric, options: TuneOptions): Promise<TunedFile[]> {
  const files = new Map<string, TunedFile>()
  for (const ranks of options.ranks) {
    const measured: ReduceEntry[] = []
    for (const call of callsOf(ranks, options)) {
      const { figures, faults } = measureEntry(fabric, call, options)
      const entry = { ...call, lines: linesOf(figures) }
      measured.push(entry)
      options.onEntry?.(entry, figures, faults)
    }
    const written = await keep(fabric, ranks, measured)
    files.set(written.file, written)
  }
  return [...files.values()]
}
