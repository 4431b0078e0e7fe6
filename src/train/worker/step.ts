// The training step of one rank: batches to the device, loss, backward with the gradients reduced
// meanwhile, clipping, optimizer. Runs many steps a message; losses stay on the device until the end
// of the message, and the event loop turns once a step.
import { setImmediate as turn } from 'node:timers/promises'
import { noGrad } from '../../autograd/no-grad.js'
import { deviceIndex } from '../../fabric/devices.js'
import type { RankGroup } from '../../fabric/rank-group.js'
import type { GradientReducer } from '../../fabric/reducer.js'
import { native } from '../../native/addon.js'
import { UsageError, WeftError } from '../../native/errors.js'
import { clipGradNorm } from '../../optim/clip.js'
import { zeros } from '../../tensor/operators/factory.js'
import { keep, scope } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Batch, HostBatch, Task, TaskOptimizer } from '../task.js'
import { disposeBatch, type Feed, type StepBatches, toDevice } from './batches.js'
import type { Turn } from './captured-step.js'
import { CONTROL_BEATS, CONTROL_STEPS, passGate } from './control.js'
import { GraphMode } from './graph-mode.js'
import type { MixedPrecision } from './mixed-precision.js'
import {
  type CheckpointReply,
  type CheckpointRequest,
  packVote,
  type RankSharding,
  type RunMessage,
  type RunReply,
  readVotes,
  type VoteResult,
} from './protocol.js'
import type { ShardedOptimizer } from './sharded-optimizer.js'
import { shardedUpdate } from './sharded-update.js'
import type { NamedTensor } from './state.js'
import { inTask } from './task-call.js'
import { requireFactor, requireLoss } from './task-checks.js'
import { TrainMetrics } from './train-metrics.js'

const LARGEST_F32 = 3.4028234663852886e38

/** What a stepper works with. */
export interface StepParts {
  task: Task
  model: Parameters<Task['loss']>[0]
  device: string
  rank: number
  control: Int32Array
  /** Parameters that take gradients, by name. */
  trainable: NamedTensor[]
  optimizer: TaskOptimizer
  reducer: GradientReducer
  feed: Feed
  clipNorm: number | undefined
  /** Measure the gradients' norm also without clipping. */
  gradNorm: boolean
  precision: MixedPrecision
  skipNonFinite: boolean
  totalSteps: number | undefined
  /** Captures the step when it can be captured. */
  graph: boolean
  /** Id of the group. */
  group: number
  timeoutMs: number
  /** Where this rank keeps a share of gradients and optimizer state. */
  sharding: { sharded: ShardedOptimizer; calls: RankGroup } | undefined
  /** Where it stands in the mesh, then. */
  places: RankSharding | undefined
}

/** Trains one replica. */
export class Stepper {
  readonly #parts: StepParts
  readonly #parameters: Tensor[]
  readonly #baseLr: number
  readonly #device: number
  readonly #graph: GraphMode | undefined
  readonly #metrics: TrainMetrics
  /** Of the latest step, on the device; undefined where nobody asks for it. */
  readonly #gradNorm: Tensor | undefined
  #deviceWait = 0
  #hostWait = 0
  /** The step in progress, from 1. */
  step = 0

  constructor(parts: StepParts) {
    this.#parts = parts
    this.#parameters = parts.trainable.map((entry) => entry.tensor)
    this.#baseLr = parts.optimizer.lr
    this.#device = deviceIndex(parts.device)
    this.#metrics = new TrainMetrics(parts.device)
    if (parts.gradNorm || parts.clipNorm !== undefined) {
      this.#gradNorm = keep(zeros([], { device: parts.device }))
    }
    if (!parts.graph) return
    const { group, rank, device, timeoutMs, reducer, places } = parts
    this.#graph = new GraphMode({
      group,
      rank,
      device,
      timeoutMs,
      passes: (batches, taken, loss) => this.#passes(batches, taken, loss, 0),
      parts: { shards: places?.shards.group ?? 0, replicas: places?.replicas?.group ?? 0 },
      average: () => reducer.average(),
      finish: () => this.#finish(),
      update: (turn) => this.#update(turn),
      abandon: () => reducer.abandon(),
    })
  }

  /** Frees a captured step. */
  dispose(): void {
    this.#graph?.dispose()
    this.#gradNorm?.dispose()
    this.#metrics.dispose()
  }

  /** Trains up to `count` steps; ends early where all ranks agreed to. `save` takes the checkpoint that is asked for. */
  async run(
    { from, count, epochs, checkpoint }: RunMessage,
    save: (request: CheckpointRequest) => Promise<CheckpointReply>,
  ): Promise<RunReply> {
    const { feed, device, optimizer, control, skipNonFinite } = this.#parts
    const losses = zeros([count], { device })
    const skipped = skipNonFinite ? zeros([count], { device }) : undefined
    let saved: CheckpointReply | undefined
    try {
      let done = 0
      let samples = 0
      let ended: RunReply['ended'] = 'count'
      while (ended === 'count' && done < count) {
        if (!passGate(control, from + done)) {
          ended = 'stop'
          break
        }
        this.#mark(from + done)
        const taken = await feed.take()
        this.#call('beforeStep', taken)
        const votes = this.#step(taken, losses, done)
        if (votes.unequal) {
          ended = 'unequal'
          break
        }
        this.#noteSkip(skipped, done)
        samples += taken.samples
        done++
        if (votes.ended && epochs !== undefined && feed.epoch + 1 >= epochs) ended = 'epochs'
        if (ended === 'count' && checkpoint?.step === from + done - 1) {
          native.markStep(this.#device, 0) // the copies are of no step
          saved = await save(checkpoint)
        }
        await turn()
      }
      native.markStep(this.#device, 0)
      const values = Array.from((await losses.data()) as Float32Array).slice(0, done)
      const { position } = feed
      return {
        losses: values,
        samples,
        waitSeconds: this.#waited(),
        lr: optimizer.lr,
        ended,
        position,
        notes: this.#graph?.takeNotes() ?? [],
        skipped: skipped && Array.from(await skipped.data(), Boolean).slice(0, done),
        lossScale: await this.#parts.precision.lossScale(),
        metrics: await this.#metrics.take(),
        gradNorm: done > 0 ? await this.#gradNorm?.item() : undefined,
        checkpoint: saved,
        snapshot: undefined,
      }
    } finally {
      losses.dispose()
      skipped?.dispose()
    }
  }

  /** Puts into `skipped`, on the device, whether the latest step was left out. */
  #noteSkip(skipped: Tensor | undefined, slot: number): void {
    const { found } = this.#parts.precision
    if (skipped === undefined || found === undefined) return
    scope(() => noGrad(() => skipped.narrow(0, slot, 1).copy_(found.narrow(0, 0, 1))))
  }

  /** Everything between two turns of the event loop. */
  #step(taken: StepBatches, losses: Tensor, slot: number): VoteResult {
    try {
      const votes = this.#train(taken, losses, slot)
      if (!votes.unequal) this.#call('afterStep', taken)
      return votes
    } finally {
      for (const batch of taken.batches) disposeBatch(batch)
    }
  }

  #train(taken: StepBatches, losses: Tensor, slot: number): VoteResult {
    const vote = packVote({ ended: taken.endsEpoch, samples: taken.samples })
    this.#schedule()
    const replayed = this.#graph?.run(taken, vote)
    if (replayed !== undefined) {
      scope(() => noGrad(() => losses.narrow(0, slot, 1).copy_(replayed.loss)))
      return readVotes(replayed.votes)
    }
    scope(() => {
      const sum = losses.narrow(0, slot, 1)
      this.#passes(taken.batches, taken, sum, vote)
    })
    const votes = readVotes(this.#finish())
    if (!votes.unequal) this.#update((body) => body())
    return votes
  }

  /** The task's own look at a step. */
  #call(part: 'beforeStep' | 'afterStep', { batches }: StepBatches): void {
    const { task, model, optimizer, feed, rank, device } = this.#parts
    if (task[part] === undefined) return
    const context = {
      model,
      optimizer,
      batches,
      step: this.step - 1,
      epoch: feed.epoch,
      rank,
      device,
    }
    scope(() => inTask(`task.${part}`, () => void task[part]?.(context)))
  }

  /** Forward and backward of a step's batches; adds their weighted losses to `sum`. */
  #passes(
    batches: readonly (HostBatch | Batch)[],
    taken: StepBatches,
    sum: Tensor,
    vote: number,
  ): void {
    const { precision } = this.#parts
    precision.step(() => this.#batches(batches, taken, sum, vote))
  }

  #batches(
    batches: readonly (HostBatch | Batch)[],
    taken: StepBatches,
    sum: Tensor,
    vote: number,
  ): void {
    const { reducer, device, precision } = this.#parts
    batches.forEach((batch, micro) => {
      reducer.begin(micro === batches.length - 1 ? 'reduce' : 'accumulate', vote)
      const weight = taken.counts[micro]! / taken.samples
      scope(() => {
        const { loss, metrics } = this.#loss(toDevice(batch, device))
        this.#metrics.add(metrics, weight)
        noGrad(() => {
          const weighted = weight === 1 ? loss : loss.mul(weight)
          sum.add_(weighted.reshape([1]))
        })
        const scaled = precision.scaled(weight === 1 ? loss : loss.mul(weight))
        inTask('a gradient hook', () => scaled.backward())
      })
    })
  }

  /** Clips the averaged gradients and updates the parameters. */
  #update(turn: Turn): void {
    const { optimizer, clipNorm, precision, sharding, reducer, timeoutMs } = this.#parts
    if (sharding !== undefined) {
      const norm = this.#gradNorm
      const parts = { ...sharding, reducer, precision, timeoutMs, clipNorm, norm }
      shardedUpdate(parts, turn)
      return
    }
    const clip = () => {
      const norm = this.#gradNorm
      if (norm === undefined) return
      // Without clipping, a limit that no finite norm passes: the gradients stay as they are.
      const limit = clipNorm ?? LARGEST_F32
      scope(() => noGrad(() => void norm.copy_(clipGradNorm(this.#parameters, limit))))
    }
    turn(() => inTask('task.optimizer', () => precision.update(optimizer, clip)))
  }

  #loss(batch: ReturnType<typeof toDevice>) {
    const { task, model, precision } = this.#parts
    return requireLoss(inTask('task.loss', () => precision.forward(() => task.loss(model, batch))))
  }

  /** Waits for the reduction; a parameter without a gradient is named. */
  #finish(): number {
    try {
      return this.#parts.reducer.finish()
    } catch (error) {
      const unused = error instanceof WeftError ? error.fields.unused : undefined
      if (!Array.isArray(unused)) throw error
      const names = unused.map((index: number) => this.#parts.trainable[index]!.name)
      throw new UsageError(
        `the loss does not depend on ${names.join(', ')}: every parameter must get a gradient in ` +
          'every step. Use it in the loss, or call requiresGrad_(false) on it',
        { unused: names },
      )
    }
  }

  #schedule(): void {
    const { task, optimizer, totalSteps } = this.#parts
    if (!task.schedule) return
    const step = this.step - 1
    const factor = inTask('task.schedule', () => task.schedule?.({ step, totalSteps }))
    optimizer.lr = this.#baseLr * requireFactor(factor, step)
  }

  #mark(step: number): void {
    const { control, rank } = this.#parts
    this.step = step
    Atomics.store(control, CONTROL_STEPS + rank, step)
    Atomics.add(control, CONTROL_BEATS, 1)
    native.markStep(this.#device, step)
  }

  /**
   * Seconds of waiting for communication since the last call. The host may run ahead of the device or
   * behind it, so either the stream or the thread waits: the longer of the two counts.
   */
  #waited(): number {
    const { deviceWaitSeconds: device, hostWaitSeconds: host } = this.#parts.reducer.stats()
    const waited = Math.max(device - this.#deviceWait, host - this.#hostWait)
    this.#deviceWait = device
    this.#hostWait = host
    return waited
  }
}
