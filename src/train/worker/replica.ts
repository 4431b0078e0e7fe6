// One rank's replica: the loaded task, its model, optimizer, reducer and data. worker/main.ts makes
// one for a run and hands it each message; steps and evaluation have their own files.

import { noGrad } from '../../autograd/no-grad.js'
import { OPTIMIZER, WEIGHTS } from '../../checkpoint/manifest.js'
import { setDefaultDevice } from '../../fabric/devices.js'
import { Group } from '../../fabric/group.js'
import { deviceMemory } from '../../fabric/memory.js'
import type { RankGroup } from '../../fabric/rank-group.js'
import { GradientReducer } from '../../fabric/reducer.js'
import { UsageError } from '../../native/errors.js'
import type { Module } from '../../nn/module.js'
import { generatorState, manualSeed, setGeneratorState } from '../../tensor/operators/random.js'
import type { Tensor } from '../../tensor/tensor.js'
import { bytesOf, type DeviceUse } from '../memory-use.js'
import { importTask } from '../module-loader.js'
import { type SharedArrays, type Task, type TaskOptimizer, taskOf } from '../task.js'
import { Feed } from './batches.js'
import { CONTROL_BEATS } from './control.js'
import { DataThread } from './data-thread.js'
import { evaluate } from './evaluate.js'
import { MixedPrecision } from './mixed-precision.js'
import type {
  BeginMessage,
  BeginReply,
  CheckpointReply,
  CheckpointRequest,
  CollectMessage,
  CollectReply,
  EvaluateMessage,
  EvaluateReply,
  FinishReply,
  LoadMessage,
  LoadReply,
  ResumeState,
  RunMessage,
  RunReply,
  SettleReply,
} from './protocol.js'
import {
  optimizerRecord,
  optimizerState,
  optimizerTensors,
  restoreOptimizer,
  restoreWeights,
  scalerTensors,
} from './restore.js'
import { ShardedOptimizer } from './sharded-optimizer.js'
import { ShardedState } from './sharded-state.js'
import { makeShared } from './shared-arrays.js'
import { SnapshotWriter } from './snapshot.js'
import { buffersOf, entriesOf, hashState, type NamedTensor, parametersOf } from './state.js'
import { Stepper } from './step.js'
import { inTask } from './task-call.js'
import { requireModel, requireOptimizer } from './task-checks.js'

/** What a rank steps with. */
interface Begun {
  stepper: Stepper
  reducer: GradientReducer
  feed: Feed
  optimizer: TaskOptimizer
  sharding: Sharding | undefined
}

/** Of a rank that keeps a share of gradients and optimizer state. */
interface Sharding {
  sharded: ShardedOptimizer
  state: ShardedState
  calls: RankGroup
}

/** A rank's part of a run. */
export class Replica {
  readonly #place: Pick<LoadMessage, 'rank' | 'world' | 'device'>
  readonly #control: Int32Array
  #seed = 0
  #task!: Task
  #model!: Module
  #state!: { parameters: NamedTensor[]; buffers: NamedTensor[] }
  #precision!: MixedPrecision
  #begun: Begun | undefined
  #shared: SharedArrays = {}
  #snapshots: SnapshotWriter | undefined
  readonly #dataThread: DataThread | undefined

  constructor({ rank, world, device, control, dataThread, module, source }: LoadMessage) {
    this.#dataThread = dataThread ? new DataThread({ module, source }) : undefined
    this.#place = { rank, world, device }
    this.#control = new Int32Array(control)
  }

  /** The step in progress, 0 outside the steps. */
  get step(): number {
    return this.#begun?.stepper.step ?? 0
  }

  /** Imports the task and builds the model, from the same random state on every rank. */
  async load({ module, source, device, seed }: LoadMessage): Promise<LoadReply> {
    setDefaultDevice(device)
    const exports = await inTask('the task module', () => importTask(module, source))
    this.#task = taskOf(exports, source)
    const { name, unit = 'samples', tokensPerSample, defaults = {} } = this.#task
    const { clipNorm, evaluate, finish } = this.#task
    this.#seed = seed ?? defaults.seed ?? 0
    manualSeed(this.#seed, device)
    const model: unknown = await inTask('task.model', () => this.#task.model())
    requireModel(model)
    this.#model = model
    model.train()
    const parameters = parametersOf(this.#model)
    const buffers = buffersOf(this.#model)
    this.#state = { parameters, buffers }
    return {
      task: name,
      unit,
      tokensPerSample,
      defaults: clipNorm === undefined ? defaults : { clipNorm, ...defaults },
      parameters: entriesOf(parameters),
      buffers: entriesOf(buffers),
      parameterCount: parameters.reduce((sum, { tensor }) => sum + tensor.numel, 0),
      evaluates: evaluate !== undefined,
      finishes: finish !== undefined,
      shared: this.#place.rank === 0 ? await makeShared(this.#task) : {},
    }
  }

  /** Takes rank 0's weights and gets ready for the first step. */
  async begin(message: BeginMessage): Promise<BeginReply> {
    const { group, accumulate, batchSize, steps, epochs, bucketBytes, timeoutMs, graph } = message
    const { rank, device } = this.#place
    const { parameters, buffers } = this.#state
    const { resume } = message
    const state = [...parameters, ...buffers]
    this.#shared = message.shared
    if (resume) await restoreWeights(resume, state, device)
    this.#broadcast(state, message)
    const { hash } = await hashState(state, false)
    // From here on ranks draw different numbers: their dropout masks belong to different samples.
    manualSeed(this.#seed + 1 + rank, device)

    const trainable = parameters.filter(({ tensor }) => tensor.requiresGrad)
    if (trainable.length === 0) throw new UsageError('the model has no parameters to train')
    const tensors = trainable.map(({ tensor }) => tensor)
    const named = trainable.map(({ name, tensor }): [string, Tensor] => [name, tensor])
    const reducer = new GradientReducer({
      group,
      rank,
      parameters: tensors,
      bucketBytes,
      timeoutMs,
      unusedZero: message.unusedParameters === 'zero',
      ...message.sharding,
    })
    const optimizer: unknown = inTask('task.optimizer', () => this.#task.optimizer(tensors, named))
    requireOptimizer(optimizer)
    if (message.lr !== undefined) optimizer.lr = message.lr
    const sharding = this.#sharding(message, reducer, optimizer, tensors)
    this.#precision = new MixedPrecision(message.precision, device, message.skipNonFinite, tensors)
    if (message.checkpoints) {
      optimizerState(optimizer)
      if (rank === 0) this.#snapshots = new SnapshotWriter(device)
    }
    const feed = new Feed((epoch) => this.#data('train', epoch, batchSize), accumulate)
    if (resume) await this.#resume(resume, { optimizer, reducer, feed, sharding })
    else await feed.open()
    const epochSteps = feed.length === undefined ? undefined : Math.ceil(feed.length / accumulate)
    const totalSteps =
      steps ??
      (epochSteps === undefined || epochs === undefined
        ? undefined
        : epochs * epochSteps + passedSteps(resume, epochSteps, accumulate))
    const stepper = new Stepper({
      task: this.#task,
      model: this.#model,
      device,
      rank,
      control: this.#control,
      trainable,
      optimizer,
      reducer,
      feed,
      clipNorm: message.clipNorm,
      gradNorm: message.gradNorm,
      precision: this.#precision,
      skipNonFinite: message.skipNonFinite,
      totalSteps,
      graph,
      group,
      timeoutMs,
      sharding,
      places: message.sharding,
    })
    this.#begun = { stepper, reducer, feed, optimizer, sharding }
    return { hash, totalSteps, epochSteps }
  }

  async run(message: RunMessage): Promise<RunReply> {
    const save = (request: CheckpointRequest) => this.checkpoint(request)
    const reply = await this.#begun!.stepper.run(message, save)
    return { ...reply, snapshot: this.#snapshots?.takeEnd() }
  }

  /** Tells this rank's state between two steps; rank 0 begins to write its tensors. */
  async checkpoint(request: CheckpointRequest): Promise<CheckpointReply> {
    const { optimizer, feed, reducer, sharding } = this.#begun!
    const { parameters, buffers } = this.#state
    const cut = await sharding?.state.gather()
    const { seed, offset } = generatorState(this.#place.device)
    const reply = {
      random: { seed: String(seed), offset: String(offset) },
      position: feed.position,
      optimizer: { ...optimizerRecord(optimizer, this.#names()), ...sharding?.state.record },
      gradientOrder: reducer.order() ?? null,
      lr: optimizer.lr,
    }
    const files = {
      [WEIGHTS]: [...parameters, ...buffers],
      [OPTIMIZER]: [...(cut ?? optimizerTensors(optimizer)), ...scalerTensors(this.#precision)],
    }
    const begun = (await this.#snapshots?.begin(request, files)) ?? true
    return { ...reply, begun }
  }

  /** Waits for what is being written. */
  async settle(): Promise<SettleReply> {
    await this.#snapshots?.idle()
    return { snapshot: this.#snapshots?.takeEnd() }
  }

  /** Sums the task's metrics over this rank's share of the held-out data. */
  async evaluate({ batchSize }: EvaluateMessage): Promise<EvaluateReply> {
    const source = await this.#data('test', 0, batchSize)
    const parts = {
      task: this.#task,
      model: this.#model,
      device: this.#place.device,
      precision: this.#precision,
      beat: () => void Atomics.add(this.#control, CONTROL_BEATS, 1),
    }
    return { sums: await evaluate(parts, source) }
  }

  /** Hashes parameters and buffers, and hands them over when asked. */
  async collect({ weights }: CollectMessage): Promise<CollectReply> {
    const { parameters, buffers } = this.#state
    const { hash, entries } = await hashState([...parameters, ...buffers], weights)
    const reply = { hash, memory: this.#memory() }
    return weights ? { ...reply, weights: entries } : reply
  }

  /** Runs the task's own ending. */
  async finish(): Promise<FinishReply> {
    const lines: string[] = []
    this.#model.eval()
    const context = {
      model: this.#model,
      device: this.#place.device,
      print: (line: string) => void lines.push(...String(line).split('\n')),
    }
    await inTask('task.finish', () => this.#task.finish?.(context))
    return { lines }
  }

  /** Ends the data and the reducer; the thread's end frees the tensors. */
  async close(): Promise<Record<string, never>> {
    await this.#snapshots?.close()
    await this.#begun?.feed.close()
    await this.#dataThread?.close()
    this.#begun?.stepper.dispose()
    this.#begun?.sharding?.sharded.dispose()
    this.#begun?.reducer.dispose()
    this.#precision?.dispose()
    this.#begun = undefined
    return {}
  }

  /** What it takes to keep a share alone, where the run asks for it. */
  #sharding(
    { sharding, timeoutMs }: BeginMessage,
    reducer: GradientReducer,
    optimizer: TaskOptimizer,
    tensors: Tensor[],
  ): Sharding | undefined {
    if (sharding === undefined) return undefined
    const { group, rank } = sharding.shards
    const sharded = new ShardedOptimizer(reducer, rank, optimizer, tensors)
    const calls = Group.attach(group).rank(rank)
    return { sharded, calls, state: new ShardedState(sharded, calls, timeoutMs) }
  }

  #memory(): DeviceUse {
    const { device } = this.#place
    const { parameters, buffers } = this.#state
    const { reducer, optimizer, sharding } = this.#begun!
    const stepping = sharding?.sharded.isOpen ? sharding.sharded.open().own : optimizer
    return {
      device,
      shards: sharding?.calls.size ?? 1,
      peakBytes: deviceMemory(device).peakAllocatedBytes,
      parameterBytes: bytesOf([...parameters, ...buffers].map(({ tensor }) => tensor)),
      gradientBytes: sharding ? bytesOf(sharding.sharded.gradients) : reducer.stats().bytes,
      optimizerBytes: bytesOf(Object.values(stepping.stateDict?.().tensors ?? {})),
    }
  }

  #names(): Map<Tensor, string> {
    return new Map(this.#state.parameters.map(({ name, tensor }) => [tensor, name]))
  }

  /** Goes on where a checkpoint stands. Random state comes last: nothing after this draws before the first step. */
  async #resume(
    resume: ResumeState,
    { optimizer, reducer, feed, sharding }: Omit<Begun, 'stepper'>,
  ): Promise<void> {
    const { rank, device } = this.#place
    const trained = this.#state.parameters.filter(({ tensor }) => tensor.requiresGrad)
    // Shares are cut by the order, so one that the checkpoint does not tell is not left to the first step.
    const backwards = sharding && trained.map((_, i) => trained.length - 1 - i)
    const order = resume.gradientOrder ?? backwards
    if (order) reducer.setOrder(order)
    const cut = sharding && {
      state: sharding.state,
      optimizer: sharding.sharded.open().own,
    }
    await restoreOptimizer(resume, optimizer, this.#precision, this.#names(), device, cut)
    await feed.openAt(resume.data)
    if (resume.random) {
      const { seed, offset } = resume.random
      setGeneratorState({ seed: BigInt(seed), offset: BigInt(offset) }, device)
    } else {
      manualSeed(BigInt(this.#seed + 1 + rank) + (BigInt(resume.step) << 32n), device)
    }
  }

  #data(split: 'train' | 'test', epoch: number, batchSize: number) {
    const { rank, world } = this.#place
    const place = { split, rank, world, seed: this.#seed, epoch, batchSize }
    const request = { ...place, shared: this.#shared }
    return inTask('task.data', () => this.#dataThread?.open(request) ?? this.#task.data(request))
  }

  /** All ranks take rank 0's values, in place. */
  #broadcast(state: NamedTensor[], { group, timeoutMs }: BeginMessage): void {
    const calls = Group.attach(group).rank(this.#place.rank)
    noGrad(() => {
      const works = state.map(({ tensor }) => calls.broadcast(tensor, { root: 0, timeoutMs }))
      for (const work of works) {
        work.wait()
        work.release()
      }
    })
  }
}

/** Steps that the run took more or fewer than epochs of today's length make, where it is resumed; else 0. */
function passedSteps(resume: ResumeState | undefined, epochSteps: number, accumulate: number) {
  if (resume === undefined) return 0
  const { epoch, batches } = resume.data
  return resume.step - epoch * epochSteps - Math.ceil(batches / accumulate)
}
