// Ends a run whose evaluations no longer improve. Training tells every evaluation; a resumed run tells it those that
// stand in its metrics.jsonl first, so that it ends where a run without an interruption would.
import { UsageError } from '../native/errors.js'
import type { Metrics } from './events.js'
import type { EarlyStopOptions } from './loop-options.js'

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
