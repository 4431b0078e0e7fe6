// Compares runs: the settings that differ, and their curves at the steps that all of them have. Pure; `weft runs
// compare` shows it.
import type { RunRecord } from './run-records.js'

/** A setting that is not the same in all runs; one value a run, undefined where it was not set. */
export interface DifferingSetting {
  name: string
  values: unknown[]
}

/** A quantity at the steps that all runs have it at. */
export interface CommonCurve {
  name: string
  rows: { step: number; values: number[] }[]
}

/** What {@link compareRuns} finds. */
export interface RunComparison {
  settings: DifferingSetting[]
  curves: CommonCurve[]
  /** Quantities that all runs have, but at no step that all have. */
  apart: string[]
}

/** What a run is told by, besides its settings. */
const about = ({ task, devices, parameters }: RunRecord) => ({ task, devices, parameters })

/** { a: { b: 1 } } → { 'a.b': 1 }; lists and what is empty stay whole. */
function flatten(value: Record<string, unknown>, prefix = ''): [string, unknown][] {
  return Object.entries(value).flatMap(([key, each]): [string, unknown][] => {
    const nested = typeof each === 'object' && each !== null && !Array.isArray(each)
    return nested
      ? flatten(each as Record<string, unknown>, `${prefix}${key}.`)
      : [[prefix + key, each ?? undefined]]
  })
}

function differing(runs: readonly RunRecord[]): DifferingSetting[] {
  const maps = runs.map((run) => new Map(flatten({ ...run.settings, ...about(run) })))
  const names = new Set(maps.flatMap((map) => [...map.keys()]))
  return [...names].flatMap((name) => {
    const values = maps.map((map) => map.get(name))
    const same = new Set(values.map((value) => JSON.stringify(value))).size === 1
    return same ? [] : [{ name, values }]
  })
}

/** Compares two runs or more. */
export function compareRuns(runs: readonly RunRecord[]): RunComparison {
  const [first, ...others] = runs as [RunRecord, ...RunRecord[]]
  const curves: CommonCurve[] = []
  const apart: string[] = []
  for (const [name, points] of Object.entries(first.curves)) {
    if (others.some((run) => run.curves[name] === undefined)) continue
    const maps = others.map(
      (run) => new Map(run.curves[name]!.map(({ step, value }) => [step, value])),
    )
    const rows = points
      .filter(({ step }) => maps.every((map) => map.has(step)))
      .map(({ step, value }) => ({ step, values: [value, ...maps.map((map) => map.get(step)!)] }))
    if (rows.length === 0) apart.push(name)
    else curves.push({ name, rows })
  }
  return { settings: differing(runs), curves, apart }
}
