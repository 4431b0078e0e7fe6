// Turns timed chunks of steps into what a progress line shows: samples a second, the share of the
// time spent waiting for communication, and the time left. The coordinator feeds one meter a run;
// it holds no clock of its own, so tests give it any times they like.

/** One measured chunk of steps: what the coordinator learns from one round of `run` messages. */
export interface ChunkTiming {
  steps: number
  /** Samples over all ranks. */
  samples: number
  seconds: number
  /** Seconds of these that a rank waited for communication, as the mean over ranks. */
  waitSeconds: number
}

/** What the meter says of the recent past and of what is left. */
export interface MeterReading {
  steps: number
  samplesPerSecond: number
  stepsPerSecond: number
  /** 0 … 1. */
  communicationShare: number
  /** Seconds until the last step; undefined while the total or the rate is unknown. */
  etaSeconds: number | undefined
}

/** What the meter says of the whole run. */
export interface MeterTotals {
  steps: number
  samples: number
  seconds: number
  samplesPerSecond: number
  communicationShare: number
}

const ratio = (part: number, whole: number) => (whole > 0 ? part / whole : 0)

/** Rates over a sliding window of seconds, and totals. */
export class Meter {
  totalSteps: number | undefined
  readonly #windowSeconds: number
  readonly #recent: ChunkTiming[] = []
  #window: ChunkTiming = { steps: 0, samples: 0, seconds: 0, waitSeconds: 0 }
  #all: ChunkTiming = { steps: 0, samples: 0, seconds: 0, waitSeconds: 0 }

  constructor(options: { totalSteps?: number | undefined; windowSeconds?: number } = {}) {
    this.totalSteps = options.totalSteps
    this.#windowSeconds = options.windowSeconds ?? 5
  }

  /** Adds a chunk; chunks older than the window no longer count in {@link reading}. */
  record(chunk: ChunkTiming): void {
    const timing = {
      ...chunk,
      waitSeconds: Math.min(Math.max(chunk.waitSeconds, 0), chunk.seconds),
    }
    this.#recent.push(timing)
    this.#window = added(this.#window, timing, 1)
    this.#all = added(this.#all, timing, 1)
    while (this.#recent.length > 1) {
      const oldest = this.#recent[0]!
      if (this.#window.seconds - oldest.seconds < this.#windowSeconds) break
      this.#window = added(this.#window, oldest, -1)
      this.#recent.shift()
    }
  }

  /** Rates over the window, and the time left at that rate. */
  reading(): MeterReading {
    const window = this.#window
    const stepsPerSecond = ratio(window.steps, window.seconds)
    const left = this.totalSteps === undefined ? undefined : this.totalSteps - this.#all.steps
    return {
      steps: this.#all.steps,
      samplesPerSecond: ratio(window.samples, window.seconds),
      stepsPerSecond,
      communicationShare: Math.min(1, Math.max(0, ratio(window.waitSeconds, window.seconds))),
      etaSeconds:
        left === undefined || stepsPerSecond === 0 ? undefined : Math.max(0, left) / stepsPerSecond,
    }
  }

  /** Sums and rates since the start. */
  totals(): MeterTotals {
    const { steps, samples, seconds, waitSeconds } = this.#all
    return {
      steps,
      samples,
      seconds,
      samplesPerSecond: ratio(samples, seconds),
      communicationShare: ratio(waitSeconds, seconds),
    }
  }
}

function added(sum: ChunkTiming, part: ChunkTiming, sign: 1 | -1): ChunkTiming {
  return {
    steps: sum.steps + sign * part.steps,
    samples: sum.samples + sign * part.samples,
    seconds: sum.seconds + sign * part.seconds,
    waitSeconds: sum.waitSeconds + sign * part.waitSeconds,
  }
}
