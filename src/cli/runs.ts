// `weft runs`: lists the runs of a folder and compares them. Needs no addon, so it reads runs of other machines.
// main.ts registers it.
import type { Command } from 'commander'
import { writeAtomically } from '../checkpoint/atomic-write.js'
import { type CommonCurve, compareRuns, type DifferingSetting } from '../inspect/run-comparison.js'
import { findRuns, openRun, type RunRecord } from '../inspect/run-records.js'
import { plotCurves } from '../metrics/curve-plot.js'
import { formatDuration, formatRate } from '../metrics/progress.js'
import { UsageError } from '../native/errors.js'
import { table } from './table.js'

/** So many rows of a curve are shown as text. */
const shownRows = 10

/** Curves that do not say how well a run learned: shown by --json alone. */
const asides = new Set(['samplesPerSecond', 'communicationShare', 'lr'])

interface RunsFlags {
  runsFolder: string
  json?: boolean
}

/** 6 significant digits at most: '0.8125', '1.2e-7'. */
const figure = (value: number | undefined) =>
  value === undefined ? '' : String(Number(value.toPrecision(6)))

const orNull = (value: number | undefined) => value ?? null

const metricsText = (metrics: RunRecord['metrics']) =>
  Object.entries(metrics)
    .map(([name, value]) => `${name} ${figure(value)}`)
    .join('\n')

/** Up to four by name; of more the first, the last and how many. */
function devicesText(names: readonly string[]): string {
  if (names.length <= 4) return names.join(' ')
  return `${names[0]} … ${names.at(-1)} (${names.length})`
}

function runRow(run: RunRecord): string[] {
  const { steps, totalSteps } = run
  return [
    run.name,
    run.task,
    run.state,
    totalSteps === undefined ? String(steps) : `${steps}/${totalSteps}`,
    figure(run.loss),
    metricsText(run.metrics),
    run.samplesPerSecond === undefined ? '' : formatRate(run.samplesPerSecond),
    formatDuration(run.seconds),
    devicesText(run.devices),
  ]
}

const runHead = [
  'run',
  'task',
  'state',
  'steps',
  'loss',
  'held-out',
  'samples/s',
  'time',
  'devices',
]

/** A run as --json tells it: all but its curves. */
function runJson({ curves: _, ...run }: RunRecord) {
  return {
    ...run,
    parameters: orNull(run.parameters),
    totalSteps: orNull(run.totalSteps),
    loss: orNull(run.loss),
    samplesPerSecond: orNull(run.samplesPerSecond),
    error: run.error ?? null,
  }
}

function list({ runsFolder, json }: RunsFlags): void {
  const { runs, unreadable } = findRuns(runsFolder)
  if (json) {
    process.stdout.write(`${JSON.stringify({ runs: runs.map(runJson), unreadable })}\n`)
    return
  }
  const lines =
    runs.length === 0 ? [`no runs in ${runsFolder}`] : [table(runHead, runs.map(runRow))]
  for (const { name, error } of runs) if (error !== undefined) lines.push(`${name}: ${error}`)
  for (const reason of unreadable) lines.push(`left out: ${reason}`)
  process.stdout.write(`${lines.join('\n')}\n`)
}

const settingText = (value: unknown) =>
  value === undefined ? '-' : typeof value === 'string' ? value : JSON.stringify(value)

function settingsTable(names: readonly string[], settings: readonly DifferingSetting[]): string {
  if (settings.length === 0) return 'all settings are the same'
  const rows = settings.map(({ name, values }) => [name, ...values.map(settingText)])
  return table(['setting', ...names], rows)
}

/** Evenly chosen rows, the first and the last among them. */
function chosen<Row>(rows: readonly Row[]): readonly Row[] {
  if (rows.length <= shownRows) return rows
  const last = rows.length - 1
  return Array.from(
    { length: shownRows },
    (_, i) => rows[Math.round((i * last) / (shownRows - 1))]!,
  )
}

function curveTable(names: readonly string[], { name, rows }: CommonCurve): string {
  const two = names.length === 2
  const head = [name, ...names, ...(two ? ['difference'] : [])]
  const body = chosen(rows).map(({ step, values }) => [
    `step ${step}`,
    ...values.map(figure),
    ...(two ? [figure(values[1]! - values[0]!)] : []),
  ])
  const left = rows.length - body.length
  return table(head, body) + (left > 0 ? `\n(${left} more steps: --json)` : '')
}

async function draw(runs: readonly RunRecord[], file: string): Promise<void> {
  const plot = plotCurves(runs.map(({ name }) => name).join(', '), runs)
  if (plot === undefined) throw new UsageError('nothing to draw: no run has logged anything yet')
  try {
    await writeAtomically(file, [plot])
  } catch (error) {
    throw new UsageError(`${file} cannot be written: ${(error as Error).message}`, { file })
  }
}

async function compare(asked: readonly string[], { runsFolder, json }: RunsFlags, svg?: string) {
  if (asked.length < 2) throw new UsageError('weft runs compare takes two runs or more')
  const runs = asked.map((name) => openRun(name, runsFolder))
  const comparison = compareRuns(runs)
  if (svg !== undefined) await draw(runs, svg)
  if (json) {
    const settings = comparison.settings.map(({ name, values }) => ({
      name,
      values: values.map((value) => value ?? null),
    }))
    const told = { runs: runs.map(runJson), ...comparison, settings }
    process.stdout.write(`${JSON.stringify(told)}\n`)
    return
  }
  const names = runs.map(({ name }) => name)
  const curves = comparison.curves.filter(({ name }) => !asides.has(name))
  const parts = [
    table(runHead, runs.map(runRow)),
    settingsTable(names, comparison.settings),
    ...curves.map((curve) => curveTable(names, curve)),
    ...comparison.apart.map((name) => `${name}: no step that all of them have`),
  ]
  process.stdout.write(`${parts.join('\n')}\n`)
}

/** Adds `weft runs` and `weft runs compare` to the program. */
export function runsCommand(program: Command): void {
  const runs = program
    .command('runs')
    .description('list runs: state, steps, loss, metrics, time, devices')
    .option('--runs-folder <path>', 'folder of all runs', 'runs')
    .option('--json', 'print one JSON object')
    .action(list)
  runs
    .command('compare')
    .description('settings in which runs differ, and their curves at common steps')
    .argument('<runs...>', 'names of runs, or paths of their folders')
    .option('--svg <file>', 'also draw their curves over each other')
    .configureHelp({ showGlobalOptions: true })
    .action((asked: string[], { svg }: { svg?: string }) =>
      compare(asked, runs.opts<RunsFlags>(), svg),
    )
}
