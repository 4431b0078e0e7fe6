// What a user tells the Trainer, checked with zod, and how it combines with a task's own defaults.
// trainer.ts parses, coordinator.ts asks for the settings once a worker has told the defaults.
import { createRequire } from 'node:module'
import type * as Zod from 'zod'
import { UsageError } from '../native/errors.js'
import { checkpointSchema } from './checkpoint-options.js'
import type { TrainEvent } from './events.js'
import { loopSchema } from './loop-options.js'
import { meshSchema } from './mesh.js'
import { precisions } from './precision.js'
import { profileSchema } from './profile-window.js'
import { sinkSchema } from './sinks/sink-options.js'
import type { TaskDefaults } from './task.js'

/** Loaded on first use: it takes a while, and every worker imports weft without ever checking options. */
function loadZod(): typeof Zod {
  return createRequire(import.meta.url)('zod') as typeof Zod
}

function makeSchema({ z }: typeof Zod) {
  const count = z.int().positive()
  const milliseconds = z.int().positive().max(86_400_000)
  return z.strictObject({
    task: z.union([z.instanceof(URL), z.string().min(1)]),
    devices: z
      .union([z.string().min(1), z.array(z.string().min(1)).min(1).readonly()])
      .default('auto'),
    virtual: count.optional(),
    steps: count.optional(),
    epochs: count.optional(),
    batchSize: count.optional(),
    accumulate: count.optional(),
    seed: z.int().nonnegative().optional(),
    lr: z.number().positive().optional(),
    logEvery: count.optional(),
    clipNorm: z.number().positive().optional(),
    precision: z.enum(precisions).optional(),
    graph: z.boolean().default(false),
    deterministic: z.boolean().optional(),
    gemmChoices: z.union([z.instanceof(URL), z.string().min(1)]).optional(),
    plugins: z.array(z.union([z.instanceof(URL), z.string().min(1)])).default([]),
    dataThread: z.boolean().default(false),
    multiprocessors: count.max(65_535).optional(),
    bucketMegabytes: z.number().positive().max(4096).default(25),
    timeoutMs: milliseconds.default(30_000),
    stallMs: milliseconds.default(600_000),
    run: z.union([z.string().min(1), z.literal(false)]).optional(),
    runsFolder: z.string().min(1).default('runs'),
    saveWeights: z.boolean().default(true),
    ...sinkSchema({ z } as typeof Zod),
    ...loopSchema({ z } as typeof Zod),
    ...meshSchema({ z } as typeof Zod),
    ...checkpointSchema({ z } as typeof Zod),
    ...profileSchema({ z } as typeof Zod),
    onEvent: z.custom<(event: TrainEvent) => void>((f) => typeof f === 'function').optional(),
  })
}

type Schema = ReturnType<typeof makeSchema>
let schema: Schema | undefined

/**
 * Options of a Trainer.
 *  - task: file or file URL of the task module
 *  - devices, virtual: as openFabric takes them; one rank a device
 *  - steps | epochs: length of the run; the task's defaults otherwise
 *  - batchSize: samples a step, device and micro-step; accumulate: micro-steps a step
 *  - lr: replaces the optimizer's own rate; evaluateEvery: steps between evaluations, 0: only at the end,
 *    'epoch': at the end of each
 *  - precision: 'bf16' and 'f16' run the task's loss and evaluation in autocast, f16 with its loss scaled; 'tf32' and
 *    'f32' say what f32 products on GPUs may do, for the process while the run goes on. Default: as allowTf32() stands
 *  - graph: after a few steps, capture the whole step and replay it; where the task cannot be captured
 *    one line says so and training goes on without. Needs batches of one shape; what the task draws or
 *    decides in JavaScript inside `loss` is frozen at the capture
 *  - deterministic, gemmChoices: as openFabric takes them; the choices of a run are its gemm-choices.json
 *  - plugins: as openFabric takes them; 'ringallreduce' reduces gradients in kernels where it is chosen
 *  - dataThread: each rank's `task.data` runs on a thread of its own, so that collating does not hold steps up. It must
 *    yield arrays of the host; the module is loaded there once more
 *  - mesh: { replicate, shard }: of replicate × shard devices, each of `shard` keeps a share of gradients and optimizer
 *    state alone (ZeRO-1 and -2); { shard: 'all' }: every device another share. Needs optim.adamw or optim.sgd
 *  - multiprocessors: of each device, that reductions in kernels may fill; the others are left to the step
 *  - bucketMegabytes: gradients reduced at a time; timeoutMs: how long a rank waits for the others
 *  - stallMs: the run fails when no rank finishes a step for so long
 *  - run: name of the folder under runsFolder; false writes nothing
 *  - sinks: where figures go besides metrics.jsonl: 'tensorboard' (event files in the run's folder), 'prometheus:9464'
 *    (served on a port, or a file), 'mlflow' (a tracking server), or objects with a kind (SinkOption)
 *  - gradNorm: report the gradients' norm also where clipNorm does not ask for it (it costs a pass over them)
 *  - unusedParameters: 'error' (default): a parameter that a step's loss does not use is a UsageError; 'zero': its
 *    gradient is zero there, on the ranks that did not use it
 *  - nonFinite: 'error' (default): a loss that is not finite ends the run with NonFiniteLossError; 'skip': a step whose
 *    averaged gradients are not finite changes nothing, on the device and on all ranks, until maxSkippedInARow of them
 *    (20) follow each other; 'ignore': neither
 *  - earlyStop: { metric, mode, patience, minDelta }: ends a run that no longer improves (EarlyStopOptions)
 *  - checkpoint: { everySteps, everyMinutes, keep, best }: when checkpoints are taken and which stay
 *    (CheckpointOptions); they lie in the run's folder
 *  - resume: true: goes on with the newest run of this task in runsFolder, or the one that `run` names; a path or
 *    name: with that run, or from that checkpoint in a new run. What is not said is as it was in the run
 *  - restarts: so many times the run goes on from its last checkpoint after a worker died or did not come
 *  - profile: { from, to }: the event log has device times in these steps, which are written to the run's folder as a
 *    Perfetto trace and a snapshot, profile-<from>-<to>.pftrace and .bin
 *  - onEvent: told what happens, in order, on the calling thread
 */
export type TrainerOptions = Zod.input<Schema>

/** Options after the check, defaults filled in. */
export type CheckedOptions = Zod.output<Schema>

/** Checks a Trainer's options; throws UsageError naming each wrong one. */
export function checkOptions(options: TrainerOptions): CheckedOptions {
  schema ??= makeSchema(loadZod())
  const result = schema.safeParse(options)
  if (!result.success) {
    const issues = result.error.issues.map(
      (issue) => `${issue.path.join('.') || 'options'}: ${issue.message}`,
    )
    throw new UsageError(`Trainer options are wrong: ${issues.join('; ')}`, { issues })
  }
  const checked = result.data
  if (checked.steps !== undefined && checked.epochs !== undefined) {
    throw new UsageError('Trainer options are wrong: give steps or epochs, not both', {
      steps: checked.steps,
      epochs: checked.epochs,
    })
  }
  requireFolder(checked)
  return checked
}

/** Checkpoints, what goes on from them, and sinks need the run's folder. */
function requireFolder({
  run,
  checkpoint,
  resume,
  restarts,
  sinks,
  profile,
}: CheckedOptions): void {
  const wants = [
    ...(sinks.some((sink) => sink.kind === 'tensorboard') ? ['the sink tensorboard'] : []),
    ...(checkpoint ? ['checkpoint'] : []),
    ...(profile ? ['profile'] : []),
    ...(resume !== false ? ['resume'] : []),
    ...(restarts > 0 ? ['restarts'] : []),
  ]
  if (run !== false || wants.length === 0) return
  throw new UsageError(
    `Trainer options are wrong: ${wants.join(' and ')} needs the run's folder, but run is false`,
    { run },
  )
}

/** What a run does, after the task's defaults were heard. */
export interface RunSettings {
  steps: number | undefined
  epochs: number | undefined
  batchSize: number
  accumulate: number
  seed: number
  /** In steps once the length of an epoch is known; 0: only at the end. */
  evaluateEvery: number | 'epoch'
  logEvery: number | undefined
  clipNorm: number | undefined
}

/** Steps between log lines when nobody says: about fifty lines a run. */
export function logInterval(settings: RunSettings, totalSteps: number | undefined): number {
  return settings.logEvery ?? Math.max(1, Math.ceil((totalSteps ?? 2500) / 50))
}

/** The user's options over the task's defaults over the trainer's own. */
export function runSettings(options: CheckedOptions, defaults: TaskDefaults): RunSettings {
  const bounded = options.steps !== undefined || options.epochs !== undefined
  const length = bounded ? options : defaults
  const settings: RunSettings = {
    steps: length.steps,
    epochs: length.steps === undefined ? length.epochs : undefined,
    batchSize: options.batchSize ?? defaults.batchSize ?? 32,
    accumulate: options.accumulate ?? defaults.accumulate ?? 1,
    seed: options.seed ?? defaults.seed ?? 0,
    evaluateEvery: options.evaluateEvery ?? defaults.evaluateEvery ?? 0,
    logEvery: options.logEvery ?? defaults.logEvery,
    clipNorm: options.clipNorm ?? defaults.clipNorm,
  }
  if (settings.steps === undefined && settings.epochs === undefined) {
    throw new UsageError('how long to train? Give steps or epochs, or put them in task.defaults')
  }
  return settings
}

/** Makes 'epoch' so many steps. Throws UsageError where the data does not tell its length. */
export function settleEvaluation(settings: RunSettings, epochSteps: number | undefined): void {
  if (settings.evaluateEvery !== 'epoch') return
  if (epochSteps === undefined) {
    throw new UsageError(
      "evaluateEvery: 'epoch' needs data that tell their length, as data.loader's do; give steps",
    )
  }
  settings.evaluateEvery = epochSteps
}
