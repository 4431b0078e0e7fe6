// `weft train <task>`: runs a Trainer and shows its events: what machine and devices, progress, metrics,
// and where the run was written. The only file of the trainer that prints.
import { cpus, totalmem } from 'node:os'
import { relative } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  createProgress,
  formatDuration,
  formatRates,
  type Progress,
  type RateUnits,
} from '../metrics/progress.js'
import type { Metrics, TrainEvent, TrainResult } from '../train/events.js'
import type { TrainerOptions } from '../train/options.js'
import { precisions } from '../train/precision.js'
import { readSinkText, type SinkText, sinkForms } from '../train/sinks/sink-options.js'
import { stopOnSignals } from '../train/stop.js'
import { Trainer } from '../train/trainer.js'
import { deviceHelp } from './devices.js'
import {
  addCheckpointFlags,
  type CheckpointFlags,
  checkpointLine,
  withCheckpoint,
} from './train-checkpoints.js'
import { addMeshFlags, type MeshFlags, memoryLines, withMesh } from './train-mesh.js'

/** What commander makes of the flags. */
interface TrainFlags
  extends CheckpointFlags,
    MeshFlags,
    Pick<
      TrainerOptions,
      | 'steps'
      | 'epochs'
      | 'batchSize'
      | 'accumulate'
      | 'seed'
      | 'lr'
      | 'logEvery'
      | 'evaluateEvery'
      | 'gradNorm'
      | 'unusedParameters'
      | 'nonFinite'
      | 'maxSkippedInARow'
      | 'clipNorm'
      | 'timeoutMs'
      | 'virtual'
      | 'multiprocessors'
      | 'dataThread'
      | 'graph'
      | 'deterministic'
      | 'gemmChoices'
      | 'profile'
    > {
  devices: string
  run?: string | false
  runsFolder: string
  progress: boolean
  json?: boolean
  plugin?: string[]
  sink?: SinkText[]
}

function whole(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0) {
    throw new InvalidArgumentError('it must be a whole number.')
  }
  return value
}

function decimal(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) {
    throw new InvalidArgumentError('it must be a number.')
  }
  return value
}

/** '50:55' → its steps. */
function stepWindow(text: string): { from: number; to: number } {
  const [, from, to] = /^(\d+):(\d+)$/.exec(text) ?? []
  if (from === undefined) throw new InvalidArgumentError("it must be two steps, as in '50:55'.")
  return { from: Number(from), to: Number(to) }
}

/** The texts of all --sink. */
function sinkTexts(text: string, before: SinkText[] = []): SinkText[] {
  if (readSinkText(text) === undefined) {
    throw new InvalidArgumentError(`it must be one of ${sinkForms}.`)
  }
  return [...before, text as SinkText]
}

/** Adds `weft train` to the program. */
export function trainCommand(program: Command): void {
  const command = program
    .command('train')
    .description('train a task data-parallel, one replica a device')
    .argument('<task>', 'task module (.ts, .js or .mjs) whose default export is a defineTask()')
    .option('-d, --devices <names>', deviceHelp, 'auto')
    .option('--virtual <count>', 'split each GPU in so many virtual devices', whole)
    .option('--plugin <names...>', 'load plugins, such as ringallreduce')
    .option('--data-thread', "make each rank's batches on a thread of its own")
    .option('--multiprocessors <count>', 'of a GPU, that reductions in kernels may fill', whole)
    .addOption(new Option('-s, --steps <count>', 'steps to train').argParser(whole))
    .addOption(
      new Option('-e, --epochs <count>', 'epochs to train').argParser(whole).conflicts('steps'),
    )
    .option('-b, --batch-size <count>', 'samples a step on each device', whole)
    .option('--accumulate <count>', 'batches whose gradients make one step', whole)
    .option('--seed <number>', 'seed of weights and data', whole)
    .option('--lr <rate>', "learning rate instead of the optimizer's own", decimal)
    .option('--clip-norm <norm>', 'clip gradients to this norm', decimal)
    .addOption(
      new Option('--precision <type>', 'what the task computes in').choices([...precisions]),
    )
    .option('--graph', 'capture the training step and replay it')
    .option('--deterministic', 'choose no kernel by measurement: the same bits in every run')
    .option('--gemm-choices <file>', 'multiply as the run did that wrote this gemm-choices.json')
    .option('--log-every <steps>', 'steps between log lines', whole)
    .option(
      '--evaluate-every <steps>',
      "steps between evaluations (0: only at the end), or 'epoch'",
      (text) => (text === 'epoch' ? text : whole(text)),
    )
    .option('--grad-norm', 'report the norm of the gradients, as with --clip-norm')
    .addOption(
      new Option('--unused-parameters <what>', 'parameters that a step does not use').choices([
        'error',
        'zero',
      ]),
    )
    .addOption(
      new Option('--non-finite <what>', 'a loss or gradients that are not finite').choices([
        'error',
        'skip',
        'ignore',
      ]),
    )
    .option(
      '--max-skipped-in-a-row <steps>',
      'steps that are left out before it is an error',
      whole,
    )
    .option('--timeout-ms <ms>', 'how long a rank waits for the others', whole)
  addMeshFlags(command, whole)
  addCheckpointFlags(command, { whole, decimal })
    .option('--run <name>', 'name of the folder that the run is written to')
    .option('--sink <names...>', `write figures there, too: ${sinkForms}`, sinkTexts)
    .option('--profile <from:to>', 'write a Perfetto trace of these steps', stepWindow)
    .option('--no-run', 'write nothing')
    .option('--runs-folder <path>', 'folder of all runs', 'runs')
    .option('--no-progress', 'plain lines, also on a terminal')
    .option('--json', 'print only the result, as one JSON object')
    .action(async (task: string, flags: TrainFlags) => {
      await train(task, flags)
    })
}

async function train(task: string, flags: TrainFlags): Promise<void> {
  const { devices, progress: bar, json, run, plugin: plugins, sink: sinks, ...options } = flags
  const quiet = json === true
  const view = new TrainView(bar, quiet)
  const trainer = new Trainer({
    task,
    devices,
    ...(plugins === undefined ? {} : { plugins }),
    ...(sinks === undefined ? {} : { sinks }),
    // Commander makes `true` of a --no-run that was not given.
    ...((run as unknown) === true || run === undefined ? {} : { run }),
    ...withCheckpoint(withMesh(options)),
    onEvent: (event) => view.show(event),
  })
  const release = stopOnSignals(trainer, {
    onStop: () => view.note('stopping after this step; press Ctrl-C again to end at once'),
    onAbort: () => view.note('ending at once'),
  })
  try {
    const result = await trainer.fit()
    view.end(result)
    const line = JSON.stringify(resultLine(result))
    process.stdout.write(quiet ? `${line}\n` : `result ${line}\n`)
    if (result.stopped) process.exitCode = 130
  } finally {
    release()
    view.close()
  }
}

/** The machine-readable summary of a run. */
function resultLine(result: TrainResult) {
  const { metrics, replicasEqual, unit, steps, devices, trainSeconds, run } = result
  const rate = (perSecond: number) => Number(perSecond.toPrecision(5))
  const samplesPerSecond = rate(result.samplesPerSecond)
  return {
    ...(metrics.accuracy === undefined ? {} : { accuracy: metrics.accuracy }),
    replicasEqual,
    unit,
    samplesPerSecond,
    [rateName(unit)]: samplesPerSecond,
    ...(result.tokensPerSecond === undefined
      ? {}
      : { tokensPerSecond: rate(result.tokensPerSecond) }),
    steps,
    devices,
    setupSeconds: Number(process.env.WEFT_SETUP_SECONDS ?? 0),
    trainSeconds: Number(trainSeconds.toFixed(3)),
    run: run === undefined ? null : relative(process.cwd(), run) || '.',
    loss: result.loss,
    metrics,
    communicationShare: Number(result.communicationShare.toFixed(4)),
    precision: result.precision,
    ...(result.lossScale === undefined ? {} : { lossScale: result.lossScale }),
    ...(result.skippedSteps === undefined ? {} : { skippedSteps: result.skippedSteps }),
    ...(isCut(result) ? { memory: result.memory } : {}),
    ...(result.stopped ? { stopped: true } : {}),
  }
}

/** Are gradients and optimizer state cut over devices? */
const isCut = ({ memory }: TrainResult) => memory.some(({ shards }) => shards > 1)

/** 'images' → 'imagesPerSecond', 'text lines' → 'textLinesPerSecond'. */
const rateName = (unit: string) =>
  `${unit.trim().replaceAll(/ +(.)/g, (_, letter: string) => letter.toUpperCase())}PerSecond`

const formatMetrics = (metrics: Metrics) =>
  Object.entries(metrics)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join('  ')

/** Events as a person reads them. */
class TrainView {
  readonly #bar: boolean
  readonly #quiet: boolean
  #progress: Progress | undefined
  #units: RateUnits = { unit: 'samples' }

  constructor(bar: boolean, quiet: boolean) {
    this.#bar = bar && process.stdout.isTTY === true
    this.#quiet = quiet
  }

  /** Shows one event of the trainer. */
  show(event: TrainEvent): void {
    if (this.#quiet) return
    if (event.kind === 'start') this.#start(event)
    else if (event.kind === 'progress' && this.#bar) this.#update(event)
    else if (event.kind === 'log' && !this.#bar) this.#update(event)
    else if (event.kind === 'stopped') this.note(`stopped after step ${event.step}`)
    else if (checkpointLine(event) !== undefined) this.note(checkpointLine(event)!)
    else if (event.kind === 'print' || event.kind === 'note') this.note(event.line)
    else if (event.kind === 'evaluation') {
      const { step, metrics, seconds } = event
      this.note(`step ${step}  held-out ${formatMetrics(metrics)}  (${formatDuration(seconds)})`)
    }
  }

  /** A line of its own; on stderr when stdout carries only JSON. */
  note(line: string): void {
    if (this.#quiet) process.stderr.write(`${line}\n`)
    else if (this.#progress) this.#progress.note(line)
    else process.stdout.write(`${line}\n`)
  }

  /** The closing lines. */
  end(result: TrainResult): void {
    if (this.#quiet) return
    this.close()
    const { replicasEqual, devices, steps, trainSeconds, samplesPerSecond } = result
    const replicas = replicasEqual ? 'bit-equal' : 'DIFFERENT'
    this.note(
      `done      ${steps} steps in ${formatDuration(trainSeconds)}, ` +
        formatRates(samplesPerSecond, this.#units),
    )
    if (Object.keys(result.metrics).length > 0) {
      this.note(`held-out  ${formatMetrics(result.metrics)}`)
    }
    if (result.lossScale !== undefined) {
      this.note(`f16       loss scale ${result.lossScale}, ${result.skippedSteps} steps left out`)
    } else if (result.skippedSteps !== undefined) {
      this.note(`left out  ${result.skippedSteps} steps, whose gradients were not finite`)
    }
    if (isCut(result)) for (const line of memoryLines(result.memory)) this.note(line)
    this.note(`replicas  ${replicas} on ${devices.length} device${devices.length > 1 ? 's' : ''}`)
    if (result.run) this.note(`written   ${relative(process.cwd(), result.run) || '.'}`)
  }

  /** Takes the bar away. Idempotent. */
  close(): void {
    this.#progress?.end()
    this.#progress = undefined
  }

  #update(state: Extract<TrainEvent, { kind: 'log' | 'progress' }>): void {
    this.#progress?.update({ ...state, total: state.totalSteps })
  }

  #start(event: Extract<TrainEvent, { kind: 'start' }>): void {
    const { devices, batchSize, accumulate, totalSteps } = event
    const cores = cpus()
    const gigabytes = (totalmem() / 2 ** 30).toFixed(0)
    const world = devices.length
    const batch = batchSize * accumulate * world
    const parts = [`${batchSize} a device`, ...(accumulate > 1 ? [`${accumulate} batches`] : [])]
    const length = totalSteps === undefined ? 'as long as the data' : `${totalSteps} steps`
    this.#units = { unit: event.unit, tokensPerSample: event.tokensPerSample }
    this.note(
      `machine   ${cores[0]?.model ?? process.arch}, ${cores.length} cores, ${gigabytes} GiB`,
    )
    this.note(`devices   ${describeDevices(devices)}`)
    this.note(
      `task      ${event.task}: ${event.parameters.toLocaleString('en-US')} parameters in ` +
        `${event.parameterTensors} tensors`,
    )
    this.note(
      `plan      ${length}, ${batch} ${event.unit} a step (${parts.join(' × ')} × ${world} devices)`,
    )
    if (event.run) this.note(`run       ${relative(process.cwd(), event.run) || '.'}`)
    this.#progress = createProgress({
      stream: process.stdout,
      ...this.#units,
      bar: this.#bar,
    })
  }
}

function describeDevices(devices: Extract<TrainEvent, { kind: 'start' }>['devices']): string {
  const names = devices.map((device) => device.name).join(' ')
  const models = [...new Set(devices.map((device) => device.model))].join(', ')
  return `${names} (${devices.length} × ${devices[0]!.driver}: ${models})`
}
