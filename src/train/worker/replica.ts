// One rank's replica: the loaded task, its model, optimizer, reducer and data. worker/main.ts makes
// one for a run and hands it each message; steps and evaluation have their own files.

import { noGrad } from '../../autograd/no-grad.js'
import { setDefaultDevice } from '../../fabric/devices.js'
import { Group } from '../../fabric/group.js'
import { GradientReducer } from '../../fabric/reducer.js'
import { UsageError } from '../../native/errors.js'
import type { Module } from '../../nn/module.js'
import { manualSeed } from '../../tensor/operators/random.js'
import { importTask } from '../module-loader.js'
import { type Task, taskOf } from '../task.js'
import { Feed } from './batches.js'
import { CONTROL_BEATS } from './control.js'
import { evaluate } from './evaluate.js'
import { MixedPrecision } from './mixed-precision.js'
import type {
  BeginMessage,
  BeginReply,
  CollectMessage,
  CollectReply,
  EvaluateMessage,
  EvaluateReply,
  FinishReply,
  LoadMessage,
  LoadReply,
  RunMessage,
  RunReply,
} from './protocol.js'
import { buffersOf, entriesOf, hashState, type NamedTensor, parametersOf } from './state.js'
import { Stepper } from './step.js'
import { inTask } from './task-call.js'
import { requireModel, requireOptimizer } from './task-checks.js'

/** A rank's part of a run. */
export class Replica {
  readonly #place: Pick<LoadMessage, 'rank' | 'world' | 'device'>
  readonly #control: Int32Array
  #seed = 0
  #task!: Task
  #model!: Module
  #state!: { parameters: NamedTensor[]; buffers: NamedTensor[] }
  #precision!: MixedPrecision
  #begun: { stepper: Stepper; reducer: GradientReducer; feed: Feed } | undefined

  constructor({ rank, world, device, control }: LoadMessage) {
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
    }
  }

  /** Takes rank 0's weights and gets ready for the first step. */
  async begin(message: BeginMessage): Promise<BeginReply> {
    const { group, accumulate, batchSize, steps, epochs, bucketBytes, timeoutMs, graph } = message
    const { rank, device } = this.#place
    const { parameters, buffers } = this.#state
    const state = [...parameters, ...buffers]
    this.#broadcast(state, message)
    const { hash } = await hashState(state, false)
    // From here on ranks draw different numbers: their dropout masks belong to different samples.
    manualSeed(this.#seed + 1 + rank, device)

    const trainable = parameters.filter(({ tensor }) => tensor.requiresGrad)
    if (trainable.length === 0) throw new UsageError('the model has no parameters to train')
    const tensors = trainable.map(({ tensor }) => tensor)
    const reducer = new GradientReducer({
      group,
      rank,
      parameters: tensors,
      bucketBytes,
      timeoutMs,
    })
    const optimizer: unknown = inTask('task.optimizer', () => this.#task.optimizer(tensors))
    requireOptimizer(optimizer)
    if (message.lr !== undefined) optimizer.lr = message.lr
    this.#precision = new MixedPrecision(message.precision, device)
    const feed = new Feed((epoch) => this.#data('train', epoch, batchSize), accumulate)
    await feed.open()
    const epochSteps = feed.length === undefined ? undefined : Math.ceil(feed.length / accumulate)
    const totalSteps =
      steps ?? (epochSteps === undefined || epochs === undefined ? undefined : epochs * epochSteps)
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
      precision: this.#precision,
      totalSteps,
      graph,
      group,
      timeoutMs,
    })
    this.#begun = { stepper, reducer, feed }
    return { hash, totalSteps }
  }

  run(message: RunMessage): Promise<RunReply> {
    return this.#begun!.stepper.run(message)
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
    return weights ? { hash, weights: entries } : { hash }
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
    await this.#begun?.feed.close()
    this.#begun?.stepper.dispose()
    this.#begun?.reducer.dispose()
    this.#precision?.dispose()
    this.#begun = undefined
    return {}
  }

  #data(split: 'train' | 'test', epoch: number, batchSize: number) {
    const { rank, world } = this.#place
    const request = { split, rank, world, seed: this.#seed, epoch, batchSize }
    return inTask('task.data', () => this.#task.data(request))
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
