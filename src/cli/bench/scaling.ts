// `weft bench scaling <task...>`: how long a training step takes on one device and on more, with the trainer that
// users run, weak and strong, eager and captured; beside another framework's figures when they are given.
//
// A run trains until it is warm and has then trained long enough, and is stopped. Its time a step is taken between
// the trainer's own reports (a chunk of about a quarter of a second each): what a user waits for. Communication that
// no computation covered comes from the event log of a short run of its own, as device times cost something.
import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import type { Fabric } from '../../fabric/fabric.js'
import { UsageError } from '../../native/errors.js'
import type { TrainEvent, TrainResult } from '../../train/events.js'
import { type Precision, precisions } from '../../train/precision.js'
import { deviceHelp } from '../devices.js'
import { quantiles } from './figures.js'
import { number } from './flags.js'
import {
  parsePeer,
  type Scaling,
  type ScalingRow,
  scalingFigures,
  scalingLines,
} from './scaling-table.js'

interface Flags {
  devices: string
  virtual?: string
  counts?: string
  scaling: string
  modes: string
  warmup: string
  seconds: string
  batchSize?: string
  precision?: Precision
  plugin?: string[]
  multiprocessors?: string
  beside?: string
  json?: boolean
}

type Mode = ScalingRow['mode']

interface RunPlan {
  task: string
  devices: string[]
  graph: boolean
  batchSize: number | undefined
  precision: Precision | undefined
  multiprocessors: number | undefined
  /** Steps before those that count. */
  warmup: number
  /** Of steps that count. */
  seconds: number
}

interface RunFigures {
  work: string
  batchSize: number
  /** Of a step on one device: batches that accumulate count together. */
  samples: number
  ms: number
  equal: boolean
  notes: string[]
}

const manySteps = 1_000_000_000
const loggedEvents = 65_536
const loggedSeconds = 0.5

/** Trains until there are enough steps that count; their median time. */
async function trainFor(plan: RunPlan): Promise<RunFigures> {
  const { Trainer } = await import('../../train/trainer.js')
  const { task, devices, graph, batchSize, precision, multiprocessors, warmup, seconds } = plan
  let start: Extract<TrainEvent, { kind: 'start' }> | undefined
  const notes: string[] = []
  const samples: number[] = []
  let last: { step: number; at: number } | undefined
  let counted = 0
  const trainer = new Trainer({
    ...{ task, devices, graph, steps: manySteps, run: false, saveWeights: false },
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(precision === undefined ? {} : { precision }),
    ...(multiprocessors === undefined ? {} : { multiprocessors }),
    onEvent(event) {
      if (event.kind === 'start') start = event
      if (event.kind === 'note') notes.push(event.line)
      if (event.kind !== 'progress' || event.step < warmup) return
      const at = performance.now()
      if (last !== undefined) {
        samples.push((at - last.at) / (event.step - last.step))
        counted += (at - last.at) / 1000
      }
      last = { step: event.step, at }
      if (counted >= seconds && samples.length >= 3) trainer.stop()
    },
  })
  const result: TrainResult = await trainer.fit()
  if (start === undefined) throw new Error('the run never began')
  const { task: work, accumulate } = start
  const ms = quantiles(samples)?.median
  if (ms === undefined) throw new UsageError(`${work}: the run ended before it was warm`)
  return {
    ...{ work, batchSize: start.batchSize, samples: start.batchSize * accumulate, ms, notes },
    equal: result.replicasEqual,
  }
}

/** Milliseconds a step, of the device that waits longest: the median over steps; undefined without device times. */
async function exposedMs(fabric: Fabric, plan: RunPlan): Promise<number | undefined> {
  const { summarize } = await import('../../inspect/summary.js')
  const mode = fabric.logMode
  const since = fabric.snapshot({ limit: 0 }).nextSequence
  fabric.logMode = 'timing'
  try {
    await trainFor({ ...plan, seconds: loggedSeconds })
    const { steps } = summarize(fabric.snapshot({ since, limit: loggedEvents }))
    const longest = steps.flatMap(({ devices }) => {
      const times = devices.flatMap(({ exposedNs }) => (exposedNs === undefined ? [] : [exposedNs]))
      return times.length < plan.devices.length ? [] : [Math.max(...times)]
    })
    const median = quantiles(longest)?.median
    return median === undefined ? undefined : median / 1e6
  } finally {
    fabric.logMode = mode
  }
}

function listOf<T extends string>(flag: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((each) => {
    const found = known.find((name) => name === each)
    if (found !== undefined) return found
    throw new UsageError(`--${flag} ${each}: choose from ${known.join(', ')}`)
  })
}

/** Numbers of devices: those asked for, else powers of two and all. One device always comes first. */
function countsOf(text: string | undefined, most: number): number[] {
  const asked = text?.split(',').map((each) => Math.floor(number('counts', each, 1)))
  const powers = [1, 2, 4, 8, 16, 32, 64].filter((count) => count < most)
  const counts = [...new Set([1, ...(asked ?? [...powers, most])])].sort((a, b) => a - b)
  const large = counts.find((count) => count > most)
  if (large === undefined) return counts
  throw new UsageError(`--counts ${large}: there are only ${most} devices`)
}

async function measureTask(
  fabric: Fabric,
  task: string,
  { counts, modes, scalings }: { counts: number[]; modes: Mode[]; scalings: Scaling[] },
  limits: Pick<RunPlan, 'batchSize' | 'precision' | 'multiprocessors' | 'warmup' | 'seconds'>,
  report: (row: ScalingRow) => void,
): Promise<void> {
  let whole = limits.batchSize
  let work = task
  for (const devices of counts) {
    const names = fabric.devices.slice(0, devices).map(({ name }) => name)
    for (const scaling of devices === 1 ? scalings.slice(0, 1) : scalings) {
      for (const mode of modes) {
        const share = scaling === 'weak' ? whole : Math.floor((whole ?? 0) / devices)
        const { precision } = limits
        const called = { scaling, devices, mode, ...(precision === undefined ? {} : { precision }) }
        const row = { work, ...called, batchSize: share ?? 0 }
        const failed = { ms: 0, perSecond: 0, equal: false }
        if (share === 0) {
          report({ ...row, ...failed, error: `a batch of ${whole} is too small for ${devices}` })
          continue
        }
        const plan = { ...limits, task, devices: names, graph: mode === 'graph', batchSize: share }
        try {
          const found = await trainFor(plan)
          work = found.work
          whole ??= found.batchSize
          const uncaptured =
            mode === 'graph' && found.notes.find((line) => /cannot be captured/.test(line))
          if (uncaptured) throw new Error(uncaptured)
          const exposed =
            mode === 'eager' && devices > 1 ? await exposedMs(fabric, plan) : undefined
          const { batchSize, samples, ms, equal } = found
          const perSecond = (samples * devices * 1000) / ms
          const rest = exposed === undefined ? {} : { exposedMs: exposed }
          report({ ...row, work, batchSize, ms, perSecond, equal, ...rest })
        } catch (error) {
          if (error instanceof UsageError) throw error
          report({ ...row, work, ...failed, error: (error as Error).message })
        }
      }
    }
  }
}

async function benchScaling(tasks: string[], flags: Flags): Promise<void> {
  const { openFabric } = await import('../../fabric/fabric.js')
  const say = (line: string) => void process.stdout.write(`${line}\n`)
  const virtual = flags.virtual === undefined ? {} : { virtual: Number(flags.virtual) }
  const peer = flags.beside === undefined ? [] : parsePeer(readFileSync(flags.beside, 'utf8'))
  const plugins = flags.plugin ?? []
  const fabric = await openFabric({ devices: flags.devices, plugins, ...virtual })
  const counts = countsOf(flags.counts, fabric.devices.length)
  const modes = listOf('modes', flags.modes, ['eager', 'graph'])
  const scalings = listOf('scaling', flags.scaling, ['weak', 'strong'])
  const batchSize =
    flags.batchSize === undefined ? undefined : Math.floor(number('batch-size', flags.batchSize, 1))
  const multiprocessors =
    flags.multiprocessors === undefined
      ? undefined
      : Math.floor(number('multiprocessors', flags.multiprocessors, 1))
  const warmup = Math.floor(number('warmup', flags.warmup, 0))
  const seconds = number('seconds', flags.seconds, 0.01)
  const first = fabric.devices[0]!
  say(`# ${fabric.devices.map(({ name }) => name).join(', ')} (${first.model})`)
  say(`# ms a step: medians over reports of the trainer, ${seconds} s after ${warmup} steps`)
  const rows: ScalingRow[] = []
  for (const task of tasks) {
    const limits = { batchSize, precision: flags.precision, multiprocessors, warmup, seconds }
    await measureTask(fabric, task, { counts, modes, scalings }, limits, (row) => {
      rows.push(row)
      process.stderr.write(`${scalingLines(scalingFigures([row], []))[1]}\n`)
    })
  }
  const figures = scalingFigures(rows, peer)
  for (const line of scalingLines(figures)) say(line)
  if (flags.json) say(JSON.stringify({ bench: 'scaling', devices: fabric.devices, rows: figures }))
  if (rows.some((row) => row.error !== undefined || !row.equal)) process.exitCode = 1
}

/** Adds `scaling` to `weft bench`. */
export function scalingBench(bench: Command): void {
  bench
    .command('scaling')
    .description('time training steps on one device and on more, weak and strong')
    .argument('<task...>', 'task modules, as weft train takes them')
    .option('-d, --devices <names>', deviceHelp, 'auto')
    .option('--virtual <count>', 'split each GPU in so many virtual devices')
    .option('--counts <list>', 'numbers of devices; default 1, powers of two, all')
    .option('--scaling <kinds>', 'weak: the same batch a device; strong: shared out', 'weak,strong')
    .option('--modes <modes>', 'steps launched one by one, or captured', 'eager,graph')
    .option('--batch-size <count>', "samples of one device's step; default: the task's")
    .addOption(
      new Option('--precision <name>', 'what tasks compute in, as weft train takes it').choices([
        ...precisions,
      ]),
    )
    .option('--warmup <steps>', 'steps that do not count', '30')
    .option('--seconds <s>', 'of steps that count', '3')
    .option('--plugin <names...>', 'load plugins, such as ringallreduce')
    .option('--multiprocessors <count>', 'of a GPU, that reductions in kernels may fill')
    .option('--beside <file>', 'JSON lines of another framework: work, mode, gpus, ms, scaling')
    .option('--json', 'end with one JSON object on one line')
    .action(benchScaling)
}
