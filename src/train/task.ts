// What a user writes to train: a task. defineTask() checks its parts and marks it, so that the
// worker can tell a task from any other export; the types here are the contract between a task,
// the workers that run it and the data package.
import { UsageError } from '../native/errors.js'
import type { Module } from '../nn/module.js'
import type { OptimizerState } from '../optim/state.js'
import type { DType, HostArray } from '../tensor/dtype.js'
import type { Tensor } from '../tensor/tensor.js'

/** A tensor's elements on the host; the worker moves it to its device. */
export interface HostTensor {
  data: HostArray
  shape: readonly number[]
  /** Default: the dtype whose elements lie in memory as in `data`. */
  dtype?: DType
}

/** One batch as the data yields it. The first dimension of its first entry counts samples. */
export type HostBatch = Record<string, Tensor | HostTensor>

/** One batch as loss and evaluate see it: every entry is a tensor on the rank's device. */
export type Batch<H extends HostBatch = HostBatch> = { [K in keyof H]: Tensor }

/** Arrays of the host that all ranks read, by name. */
export type SharedArrays = Readonly<Record<string, HostArray>>

/** What `data` is asked for. */
export interface DataRequest<S extends SharedArrays = SharedArrays> {
  /** 'train' for steps, 'test' for held-out evaluation. */
  split: 'train' | 'test'
  rank: number
  /** Ranks that share the data; every rank must get as many batches of as many samples. */
  world: number
  seed: number
  /** Counts from 0; always 0 for 'test'. */
  epoch: number
  /** Samples a batch on one rank. */
  batchSize: number
  /** What `shared` returned: the same memory on all ranks. Empty without it. */
  shared: S
}

/**
 * Batches of one rank and epoch. `length`, when there, tells their number. A run that is resumed in the middle of an
 * epoch goes on with batch number n: from `startingAt(n)` where the source has it, as data.loader's do, else by
 * reading n batches and throwing them away.
 */
export type BatchSource<H extends HostBatch = HostBatch> = (AsyncIterable<H> | Iterable<H>) & {
  readonly length?: number
  /** The batches from number `batch` on. */
  startingAt?: (batch: number) => AsyncIterable<H> | Iterable<H>
}

/** What `schedule` is asked for, before each step. */
export interface SchedulePoint {
  /** Counts from 0. */
  step: number
  /** Steps of the whole run; undefined when only the data knows. */
  totalSteps: number | undefined
}

/** What `finish` is given, on rank 0 after the last step. */
export interface FinishContext<M> {
  model: M
  device: string
  /** Shows a line to the user, after the run's own lines. */
  print: (line: string) => void
}

/** What `beforeStep` and `afterStep` see. Nothing of it may be kept. */
export interface StepContext<M extends Module = Module, H extends HostBatch = HostBatch> {
  model: M
  optimizer: TaskOptimizer
  /** The batches of the step, `accumulate` of them, as the data yielded them. */
  batches: readonly H[]
  /** Counts from 0. */
  step: number
  epoch: number
  rank: number
  device: string
}

/** Settings that a task suggests; what the user gives the trainer wins. */
export interface TaskDefaults {
  steps?: number
  epochs?: number
  batchSize?: number
  accumulate?: number
  seed?: number
  evaluateEvery?: number | 'epoch'
  logEvery?: number
  clipNorm?: number
}

/** What the trainer needs of an optimizer; all of optim's have it. */
export interface TaskOptimizer {
  lr: number
  /** Updates every parameter from its gradient, in place. Enqueues and returns. */
  step(): void
  /** Frees its state on the devices. */
  dispose(): void
  /** Needed for checkpoints, both. */
  stateDict?(): OptimizerState
  /** Takes what stateDict() gave; copies it, the tensors stay the caller's. */
  loadStateDict?(state: OptimizerState): void
}

/**
 * The parts of a task. Where `data` stands before `loss` and `evaluate`, TypeScript knows what their
 * batch holds; else say so there: `loss: (model, batch: { images: Tensor }) => …`.
 */
export interface TaskDefinition<
  M extends Module = Module,
  H extends HostBatch = HostBatch,
  S extends SharedArrays = SharedArrays,
> {
  /** Names the run; letters, digits, '-', '_' and '.' are kept in folder names. */
  name: string
  /** Builds the model; called once a rank, all with the same random state. */
  model: () => M | Promise<M>
  /**
   * A dataset as arrays, read once for all ranks of the process: it runs on rank 0, and `data` finds the arrays in
   * `request.shared` on every rank, in one memory (SharedArrayBuffer). Nobody should write there.
   */
  shared?: () => S | Promise<S>
  /** One rank's share of one epoch. Tensors that it yields belong to the trainer from then on. */
  data: (request: DataRequest<S>) => BatchSource<H> | Promise<BatchSource<H>>
  /**
   * The loss of one batch: one element, the mean over its samples. With `metrics`, further means over its samples, of
   * the same names in every step: they are averaged over steps and ranks and stand in progress and log lines.
   */
  loss: (
    model: M,
    batch: Batch<H>,
  ) => Tensor | { loss: Tensor; metrics: Record<string, Tensor | number> }
  /** Of the parameters that take gradients; `named` has them with their names, for optim.parameterGroups(). */
  optimizer: (parameters: Tensor[], named: readonly [string, Tensor][]) => TaskOptimizer
  /**
   * Sums over one batch, with `count`, what they are sums over. The trainer reports sum / count over
   * all batches of all ranks, so shares of different sizes weigh rightly.
   */
  evaluate?: (model: M, batch: Batch<H>) => Record<string, Tensor | number>
  /** Factor of the optimizer's own learning rate at a step. */
  schedule?: (point: SchedulePoint) => number
  /** Called before a step's batches are used, on every rank; may change the model or the optimizer alike on all. */
  beforeStep?: (context: StepContext<M, H>) => void
  /** Called after a step was enqueued, on every rank. What it makes of tensors is freed at its end. */
  afterStep?: (context: StepContext<M, H>) => void
  /** Scales gradients down to this norm; after the reduction, so it is the same on every rank. */
  clipNorm?: number
  /** What a sample is, in the plural, for the progress line and the result: 'images'; default 'samples'. */
  unit?: string
  /** Tokens of one sample, when it is a text: the run then tells tokens a second too. */
  tokensPerSample?: number
  defaults?: TaskDefaults
  /** Runs on rank 0 at the end, for example to print a sample of text. */
  finish?: (context: FinishContext<M>) => Promise<void> | void
}

const mark = Symbol.for('weft.task')

/** A checked task: what a task module exports as default. */
export type Task = TaskDefinition & { readonly [mark]: true }

const required = ['model', 'loss', 'data', 'optimizer'] as const
const optional = ['shared', 'evaluate', 'schedule', 'beforeStep', 'afterStep', 'finish'] as const

/** Checks a task's parts and marks it. A task module exports the result as its default. */
export function defineTask<
  M extends Module,
  H extends HostBatch,
  S extends SharedArrays = SharedArrays,
>(definition: TaskDefinition<M, H, S>): Task {
  if (typeof definition !== 'object' || definition === null) {
    throw new UsageError('defineTask takes an object: { name, model, loss, data, optimizer }')
  }
  if (typeof definition.name !== 'string' || definition.name === '') {
    throw new UsageError('defineTask: name must be a non-empty string')
  }
  for (const part of required) {
    if (typeof definition[part] !== 'function') {
      throw new UsageError(`task ${definition.name}: ${part} must be a function`, { part })
    }
  }
  for (const part of optional) {
    if (definition[part] !== undefined && typeof definition[part] !== 'function') {
      throw new UsageError(`task ${definition.name}: ${part} must be a function when given`, {
        part,
      })
    }
  }
  requireUnits(definition)
  // What the parts take is checked above by their own types; past this point any task is a Task.
  return { ...(definition as unknown as TaskDefinition), [mark]: true }
}

function requireUnits({
  name,
  unit,
  tokensPerSample,
}: Pick<Task, 'name' | 'unit' | 'tokensPerSample'>) {
  if (unit !== undefined && (typeof unit !== 'string' || !/^[a-z][a-z ]*$/i.test(unit))) {
    throw new UsageError(
      `task ${name}: unit must be a word for samples in the plural, such as 'images', not ${JSON.stringify(unit)}`,
      { part: 'unit' },
    )
  }
  if (tokensPerSample === undefined || (tokensPerSample > 0 && Number.isFinite(tokensPerSample)))
    return
  throw new UsageError(`task ${name}: tokensPerSample must be a number above 0`, {
    part: 'tokensPerSample',
  })
}

/** Was this made by {@link defineTask}? */
export function isTask(value: unknown): value is Task {
  return typeof value === 'object' && value !== null && mark in value
}

/** The task of an imported module: its default export, or one called `task`. */
export function taskOf(module: Record<string, unknown>, source: string): Task {
  for (const name of ['default', 'task']) {
    if (isTask(module[name])) return module[name]
  }
  const found = Object.keys(module)
  const exports = found.length === 0 ? 'exports nothing' : `exports only ${found.join(', ')}`
  throw new UsageError(
    `${source} exports no task: looked for a default export (or \`task\`) made with defineTask(), ` +
      `but it ${exports}`,
    { task: source, exports: found },
  )
}
