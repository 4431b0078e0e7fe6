// The checkpoints of a run, seen from the coordinator: when one is due, the snapshot of all ranks, the manifest that
// makes it whole once rank 0's files are written, and which older ones go. Training asks after each chunk of steps.
//
// Nothing here makes a step wait but the copies on the device: one that is due by steps is taken by the ranks inside
// their chunk, without a message. One snapshot is written at a time: one that is due meanwhile is put off to the first
// chunk's end after it was; those of a best metric and of the run's end are taken there too, and wait.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { syncFolder, writeJsonAtomically } from '../checkpoint/atomic-write.js'
import {
  bestCheckpoint,
  checkpointName,
  pruneCheckpoints,
  removeCheckpoint,
} from '../checkpoint/checkpoint-folder.js'
import { type Manifest, writeManifest } from '../checkpoint/manifest.js'
import { CheckpointError, UsageError } from '../native/errors.js'
import type { CheckpointOptions } from './checkpoint-options.js'
import type { Crew } from './crew.js'
import type { Metrics, TrainEvent } from './events.js'
import type {
  CheckpointReply,
  CheckpointRequest,
  RunMessage,
  RunReply,
  SnapshotEnd,
} from './worker/protocol.js'

/** What checkpoints work with. */
export interface CheckpointsParts {
  crew: Crew
  /** Folder of the run's checkpoints. */
  folder: string
  options: CheckpointOptions
  /** What is the same in every manifest of the run. */
  base: Pick<Manifest, 'weft' | 'task' | 'seed' | 'world' | 'devices' | 'precision' | 'settings'>
  emit: (event: TrainEvent) => void
}

/** Where training stands. */
export interface TrainingPoint {
  readonly steps: number
  /** Of the evaluation at this very step. */
  readonly evaluated: Metrics | undefined
  readonly loss: number | undefined
}

/** A snapshot whose files are being written. */
interface Pending {
  folder: string
  manifest: Omit<Manifest, 'files'>
  best: boolean
}

/** Takes and keeps checkpoints. */
export class Checkpoints {
  readonly #parts: CheckpointsParts
  #pending: Pending | undefined
  #completing: Promise<void> = Promise.resolve()
  #takenAt = 0
  #takenMs = performance.now()
  #best: { step: number; value: number } | undefined

  constructor(parts: CheckpointsParts) {
    this.#parts = parts
  }

  /** Makes the folder, and in a resumed run finds the best one so far. */
  async open(firstStep: number): Promise<void> {
    const { folder } = this.#parts
    await mkdir(folder, { recursive: true }).catch((error: Error) => {
      throw new CheckpointError(`no folder for checkpoints: ${error.message}`, { path: folder })
    })
    this.#takenAt = firstStep
    await this.#findBest(firstStep)
  }

  /** The most steps that a chunk behind `step` may have: to the next one that is due, behind it where it is taken inside. */
  most(step: number): number {
    const { everySteps } = this.#parts.options
    if (everySteps === undefined) return Infinity
    return this.#untilDue(step) + (this.#pending === undefined ? everySteps - 1 : 0)
  }

  /** What a chunk behind `step` is to take inside, up to `last`; what is due later is left to step(). */
  within(step: number, last: number): RunMessage['checkpoint'] {
    const due = step + this.#untilDue(step)
    if (due > last || this.#pending !== undefined) return undefined
    return { step: due, ...this.#request(due, false) }
  }

  /** Ranks took one inside a chunk, or ended before; `loss` is of that step. */
  taken(step: number, replies: RunReply[], loss: number | undefined): void {
    const states = replies.flatMap(({ checkpoint }) => (checkpoint ? [checkpoint] : []))
    if (states.length < replies.length || !states[0]!.begun) return
    this.#begun({ steps: step, evaluated: undefined, loss }, states, false)
  }

  #untilDue(step: number): number {
    const { everySteps } = this.#parts.options
    return everySteps === undefined ? Infinity : everySteps - (step % everySteps)
  }

  /** How many were due by steps, up to `step`. */
  #dueBy(step: number): number {
    const { everySteps } = this.#parts.options
    return everySteps === undefined ? 0 : Math.floor(step / everySteps)
  }

  /** Takes one where one is due after a chunk of steps. */
  async step(point: TrainingPoint): Promise<void> {
    const best = this.#isBest(point.evaluated)
    if (!best && !this.#isDue(point.steps)) return
    if (best) await this.settle()
    if (this.#pending === undefined) await this.#take(point, best)
  }

  /** Takes one where the run ends, unless there is one, and waits until it is whole. */
  async last(point: TrainingPoint): Promise<void> {
    await this.settle()
    const best = this.#isBest(point.evaluated)
    if (point.steps > 0 && (best || this.#takenAt !== point.steps)) await this.#take(point, best)
    await this.settle()
  }

  /** Rank 0 has written a snapshot's files, or failed to. The manifest follows beside the steps. */
  written(end: SnapshotEnd): void {
    const pending = this.#pending
    if (pending === undefined) return
    this.#completing = this.#completing
      .then(() => this.#complete(pending, end))
      .catch((error: Error) => this.#failed(pending.manifest.step, pending.folder, error.message))
      .then(() => {
        this.#pending = undefined
      })
  }

  /** Waits until what is being written has been. */
  async settle(): Promise<void> {
    if (this.#pending !== undefined) {
      const { snapshot } = await this.#parts.crew.send<'settle'>(0, { kind: 'settle' })
      if (snapshot) this.written(snapshot)
    }
    await this.#completing
  }

  #isDue(step: number): boolean {
    const { everyMinutes } = this.#parts.options
    if (this.#dueBy(step) > this.#dueBy(this.#takenAt)) return true
    return everyMinutes !== undefined && performance.now() - this.#takenMs >= everyMinutes * 60_000
  }

  #isBest(metrics: Metrics | undefined): boolean {
    const { best } = this.#parts.options
    if (!best || metrics === undefined) return false
    const value = metrics[best.metric]
    if (value === undefined) {
      throw new UsageError(
        `checkpoint.best: the task's evaluate gives ${Object.keys(metrics).join(', ')}, not ${best.metric}`,
        { metric: best.metric },
      )
    }
    return (
      Number.isFinite(value) && (this.#best === undefined || this.#better(value, this.#best.value))
    )
  }

  #better = (value: number, than: number): boolean =>
    this.#parts.options.best?.mode === 'min' ? value < than : value > than

  async #take(point: TrainingPoint, best: boolean): Promise<void> {
    const request = this.#request(point.steps, true)
    const replies = await this.#parts.crew.sendAll<'checkpoint'>(() => ({
      kind: 'checkpoint',
      ...request,
    }))
    this.#begun(point, replies, best)
  }

  #request(step: number, mayWait: boolean): CheckpointRequest {
    const { folder, base } = this.#parts
    return {
      folder: join(folder, checkpointName(step)),
      metadata: { format: 'weft', task: base.task, step: String(step) },
      mayWait,
    }
  }

  /** The ranks have told their states, and rank 0 is writing. */
  #begun(
    { steps, evaluated, loss }: TrainingPoint,
    replies: CheckpointReply[],
    best: boolean,
  ): void {
    const { folder, base, options } = this.#parts
    this.#takenAt = steps
    this.#takenMs = performance.now()
    if (best) this.#best = { step: steps, value: evaluated![options.best!.metric] as number }
    const manifest = {
      format: 'weft-checkpoint' as const,
      version: 1 as const,
      ...base,
      written: new Date().toISOString(),
      step: steps,
      ...stateOf(replies),
      metrics: finiteOnly(evaluated),
      loss: loss !== undefined && Number.isFinite(loss) ? loss : null,
    }
    this.#pending = { folder: join(folder, checkpointName(steps)), manifest, best }
  }

  async #complete(
    { folder: path, manifest, best }: Pending,
    { files, failed, seconds }: SnapshotEnd,
  ): Promise<void> {
    const { folder, options, emit } = this.#parts
    const { step } = manifest
    if (files === undefined) return this.#failed(step, path, failed)
    await syncFolder(folder)
    await writeManifest(path, { ...manifest, files })
    const bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, 0)
    emit({ kind: 'checkpoint', step, path, bytes, seconds, best })
    if (best && options.best) {
      const { metric } = options.best
      const value = manifest.metrics?.[metric]
      await writeJsonAtomically(join(folder, 'best.json'), {
        step,
        metric,
        value,
        checkpoint: checkpointName(step),
      })
    }
    await pruneCheckpoints(folder, { keep: options.keep, best: this.#best?.step, upTo: step })
  }

  async #findBest(upTo: number): Promise<void> {
    const { folder, options } = this.#parts
    if (!options.best) return
    this.#best = await bestCheckpoint(folder, this.#better, options.best.metric, upTo)
  }

  /** Training goes on: a full disk takes no run down. */
  async #failed(step: number, path: string, reason: string): Promise<void> {
    const line = `the checkpoint of step ${step} could not be written: ${reason}`
    this.#parts.emit({ kind: 'note', step, line })
    await removeCheckpoint(path).catch(() => {})
    if (this.#best?.step === step) await this.#findBest(step)
  }
}

/** What the ranks told; they stand at the same place in their data. */
function stateOf(replies: CheckpointReply[]) {
  const { position, optimizer, gradientOrder, lr } = replies[0]!
  const { epoch, batches, ended } = position
  return {
    data: { epoch, batches, ended },
    lr,
    random: replies.map(({ random }) => random),
    optimizer,
    gradientOrder,
  }
}

function finiteOnly(metrics: Metrics | undefined): Metrics | null {
  if (metrics === undefined) return null
  return Object.fromEntries(Object.entries(metrics).filter(([, value]) => Number.isFinite(value)))
}
