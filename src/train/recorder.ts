// Turns finished chunks of steps into the run's curve, its events and its metrics.jsonl. The
// coordinator hands it each chunk's losses and times; it decides what is due and tells the listener.

import type { JsonRecord } from '../metrics/jsonl.js'
import { Meter } from '../metrics/meter.js'
import type { Metrics, ProgressReport, TrainEvent } from './events.js'
import { type LossScale, lossScaleFields } from './precision.js'
import type { RunDirectory } from './run-directory.js'

/** What {@link Recorder.chunk} is told. */
export interface ChunkRecord {
  /** Loss of each step, mean over ranks. */
  losses: number[]
  samples: number
  seconds: number
  waitSeconds: number
  lr: number | undefined
  lossScale: LossScale | undefined
  /** Of the last step. */
  gradNorm: number | undefined
  /** The task's metrics, summed over the steps, means over ranks. */
  metrics: Metrics
}

/** How a recorder reports. */
export interface RecorderOptions {
  totalSteps: number | undefined
  /** Steps that were done before, in a run that is resumed. */
  firstStep: number
  logEvery: number
  directory: RunDirectory
  emit: (event: TrainEvent) => void
}

/** Of those that are finite, so that a step that was left out hides no other; NaN where none is. */
function mean(values: number[]): number {
  const finite = values.filter(Number.isFinite)
  return finite.reduce((sum, value) => sum + value, 0) / finite.length
}

/** What JSON can say. */
const finiteFields = (fields: JsonRecord): JsonRecord =>
  Object.fromEntries(
    Object.entries(fields).filter(
      ([, value]) => typeof value !== 'number' || Number.isFinite(value),
    ),
  )

/** The field `metrics` of a report: means of sums over so many steps; nothing where there are none. */
function divided(sums: Metrics, steps: number): { metrics?: Metrics } {
  const entries = Object.entries(sums).filter(([, sum]) => Number.isFinite(sum))
  if (entries.length === 0) return {}
  return { metrics: Object.fromEntries(entries.map(([name, sum]) => [name, sum / steps])) }
}

const gradNormField = (gradNorm: number | undefined) =>
  gradNorm !== undefined && Number.isFinite(gradNorm) ? { gradNorm } : {}

/** Keeps the curve and reports progress. */
export class Recorder {
  readonly meter: Meter
  readonly losses: number[] = []
  metrics: Metrics = {}
  /** As it stood after the last chunk. */
  lossScale: LossScale | undefined
  #gradNorm: number | undefined
  /** The task's metrics since the last log line, summed. */
  #sums: Metrics = {}
  readonly #options: RecorderOptions
  readonly #started = performance.now()
  /** Losses that log lines have told. */
  #logged = 0
  #nextLog: number

  constructor(options: RecorderOptions) {
    this.#options = options
    const { totalSteps, firstStep, logEvery } = options
    this.meter = new Meter({
      totalSteps: totalSteps === undefined ? undefined : totalSteps - firstStep,
    })
    this.#nextLog = firstStep - (firstStep % logEvery) + logEvery
  }

  /** Steps done, those before a resume among them. */
  get steps(): number {
    return this.#options.firstStep + this.losses.length
  }

  /** Steps until a log line is due. */
  get untilLog(): number {
    return this.#nextLog - this.steps
  }

  /** Adds the steps of one chunk, and reports them. */
  chunk(record: ChunkRecord): void {
    const { losses, samples, seconds, waitSeconds, lr } = record
    for (const loss of losses) this.losses.push(loss)
    this.lossScale = record.lossScale
    this.#gradNorm = record.gradNorm
    this.meter.record({ steps: losses.length, samples, seconds, waitSeconds })
    for (const [name, sum] of Object.entries(record.metrics)) {
      this.#sums[name] = (this.#sums[name] ?? 0) + sum
    }
    const metrics = divided(record.metrics, losses.length)
    this.#options.emit({ kind: 'progress', ...this.#report(mean(losses), lr), ...metrics })
    if (this.untilLog <= 0) this.log(lr)
  }

  /** Writes and emits a log line over the steps since the last one; nothing when there are none. */
  log(lr: number | undefined): void {
    const steps = this.losses.slice(this.#logged)
    if (steps.length === 0) return
    this.#logged = this.losses.length
    this.#nextLog = this.steps + this.#options.logEvery
    const metrics = divided(this.#sums, steps.length)
    this.#sums = {}
    const report = { ...this.#report(mean(steps), lr), ...metrics }
    const timeMs = this.#timeMs()
    const { step, loss, samplesPerSecond, communicationShare } = report
    const figures = { loss, samplesPerSecond, communicationShare, lr, timeMs }
    this.#options.directory.metrics({
      ...{ kind: 'train', step },
      ...finiteFields(figures),
      ...metrics,
      ...gradNormField(this.#gradNorm),
      ...lossScaleFields(this.lossScale),
    })
    this.#options.emit({ kind: 'log', timeMs, ...report })
  }

  /** Takes over what an evaluation gave before a resume. */
  recall(metrics: Metrics): void {
    this.metrics = metrics
  }

  /** Passes on a line about how the run goes. */
  note(line: string): void {
    this.#options.emit({ kind: 'note', step: this.steps, line })
  }

  /** Records the metrics of an evaluation. */
  evaluation(metrics: Metrics, seconds: number): void {
    this.metrics = metrics
    const step = this.steps
    this.#options.directory.metrics({
      kind: 'evaluation',
      step,
      ...metrics,
      timeMs: this.#timeMs(),
    })
    this.#options.emit({ kind: 'evaluation', step, metrics, seconds })
  }

  #timeMs(): number {
    return Math.round(performance.now() - this.#started)
  }

  #report(loss: number, lr: number | undefined): ProgressReport {
    const { samplesPerSecond, communicationShare, etaSeconds } = this.meter.reading()
    const { totalSteps } = this.#options
    return {
      step: this.steps,
      totalSteps,
      loss,
      samplesPerSecond,
      communicationShare,
      etaSeconds,
      lr,
      ...gradNormField(this.#gradNorm),
      ...lossScaleFields(this.lossScale),
    }
  }
}
