// Ends a run whose evaluations no longer improve. Training tells every evaluation; a resumed run tells it those that
// stand in its metrics.jsonl first, so that it ends where a run without an interruption would.
import { UsageError } from '../native/errors.js'
import type { Metrics } from './events.js'
import type { EarlyStopOptions } from './loop-options.js'
import type { RunSettings } from './options.js'

/** Counts evaluations without an improvement. */
export class EarlyStop {
  readonly #options: EarlyStopOptions
  #best: { step: number; value: number } | undefined
  #since = 0

  constructor(options: EarlyStopOptions) {
    this.#options = options
  }

  /** Takes an evaluation. Throws UsageError where the task does not give the metric. */
  evaluated(step: number, metrics: Metrics): void {
    const { metric, mode, minDelta } = this.#options
    const value = metrics[metric]
    if (value === undefined) {
      throw new UsageError(
        `earlyStop: the task's evaluate gives ${Object.keys(metrics).join(', ')}, not ${metric}`,
        { metric },
      )
    }
    const gain =
      this.#best === undefined
        ? Infinity
        : mode === 'min'
          ? this.#best.value - value
          : value - this.#best.value
    // A value that is not a number is no improvement.
    if (gain > minDelta && Number.isFinite(value)) {
      this.#best = { step, value }
      this.#since = 0
    } else this.#since++
  }

  /** Why the run ends now; undefined while it goes on. */
  get reason(): string | undefined {
    const { metric, patience } = this.#options
    if (this.#since < patience) return undefined
    const best = this.#best
      ? `best ${this.#best.value} at step ${this.#best.step}`
      : 'never a number'
    return `early stop: ${metric} has not improved for ${this.#since} evaluations (${best})`
  }
}

/** What ends a run early, told the evaluations that it has had before a resume; undefined where nothing does. */
export function earlyStopOf(
  options: EarlyStopOptions | undefined,
  before: readonly { step: number; metrics: Metrics }[],
  { evaluateEvery }: Pick<RunSettings, 'evaluateEvery'>,
): EarlyStop | undefined {
  if (options === undefined) return undefined
  const early = new EarlyStop(options)
  // Not those of a stop: a run without an interruption has none there.
  for (const { step, metrics } of before) {
    if (step % Number(evaluateEvery) === 0) early.evaluated(step, metrics)
  }
  return early
}
