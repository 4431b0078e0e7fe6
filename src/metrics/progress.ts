// Shows a run's progress on a stream that the caller gives: a bar on a terminal, plain lines
// elsewhere. Knows nothing of the trainer: the CLI turns its events into ProgressState.
import { SingleBar } from 'cli-progress'

/** What one progress line says. */
export interface ProgressState {
  step: number
  /** Steps of the whole run; undefined when the data decides. */
  total?: number | undefined
  loss: number
  samplesPerSecond: number
  communicationShare: number
  etaSeconds?: number | undefined
  /** Of the gradients, where it is measured. */
  gradNorm?: number | undefined
  /** The task's own. */
  metrics?: Record<string, number> | undefined
}

/** Receives progress until it ends; `note` prints a line of its own above the bar. */
export interface Progress {
  update(state: ProgressState): void
  note(line: string): void
  end(): void
}

/** What a rate is told in. */
export interface RateUnits {
  /** What is counted, for example 'images'. */
  unit: string
  /** Tokens of one sample, where samples are text. */
  tokensPerSample?: number | undefined
}

/** How {@link createProgress} draws. */
export interface ProgressOptions extends RateUnits {
  stream: NodeJS.WritableStream & { isTTY?: boolean }
  /** False: lines even on a terminal. */
  bar?: boolean
}

/** A duration as a person reads it: '0.12 s', '7.4 s', '42 s', '3:05', '1:02:09'. */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(seconds < 0.995 ? 2 : 1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  const hours = Math.floor(whole / 3600)
  const minutes = Math.floor((whole % 3600) / 60)
  const rest = String(whole % 60).padStart(2, '0')
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`
}

/** A rate with three or more significant digits: '3.42', '87.1', '12,345'. */
export function formatRate(rate: number): string {
  if (rate >= 100) return Math.round(rate).toLocaleString('en-US')
  return rate.toFixed(rate >= 10 ? 1 : 2)
}

/** '87.1 images/s', '12.3 sequences/s  787 tokens/s'; where samples are counted as tokens, only these. */
export function formatRates(
  samplesPerSecond: number,
  { unit, tokensPerSample }: RateUnits,
): string {
  const tokens = tokensPerSample === undefined ? undefined : samplesPerSecond * tokensPerSample
  const inTokens = tokens === undefined ? [] : [`${formatRate(tokens)} tokens/s`]
  if (unit === 'tokens' && tokens !== undefined) return inTokens.join()
  return [`${formatRate(samplesPerSecond)} ${unit}/s`, ...inTokens].join('  ')
}

/** The body of a progress line, after the step. */
export function formatState(state: ProgressState, units: RateUnits): string {
  const eta = state.etaSeconds === undefined ? '–' : formatDuration(state.etaSeconds)
  return [
    `loss ${state.loss.toFixed(4)}`,
    ...Object.entries(state.metrics ?? {}).map(([name, value]) => `${name} ${value.toFixed(4)}`),
    ...(state.gradNorm === undefined ? [] : [`norm ${state.gradNorm.toPrecision(3)}`]),
    formatRates(state.samplesPerSecond, units),
    `comm ${(100 * state.communicationShare).toFixed(1)} %`,
    `ETA ${eta}`,
  ].join('  ')
}

/** One whole progress line: 'step 20/500  loss …  images/s  comm … %  ETA …'. */
export function formatLine(state: ProgressState, units: RateUnits): string {
  const total = state.total === undefined ? '' : `/${state.total}`
  return `step ${state.step}${total}  ${formatState(state, units)}`
}

/** A bar when the stream is a terminal and `bar` is not false, else one line an update. */
export function createProgress(options: ProgressOptions): Progress {
  const interactive = options.bar !== false && options.stream.isTTY === true
  return interactive ? new BarProgress(options) : new LineProgress(options)
}

class LineProgress implements Progress {
  readonly #options: ProgressOptions

  constructor(options: ProgressOptions) {
    this.#options = options
  }

  update(state: ProgressState): void {
    this.note(formatLine(state, this.#options))
  }

  note(line: string): void {
    this.#options.stream.write(`${line}\n`)
  }

  end(): void {}
}

class BarProgress implements Progress {
  readonly #options: ProgressOptions
  #bar: SingleBar | undefined
  #last: ProgressState | undefined

  constructor(options: ProgressOptions) {
    this.#options = options
  }

  update(state: ProgressState): void {
    this.#last = state
    const body = formatState(state, this.#options)
    const total = state.total ?? Math.max(state.step, 1)
    if (this.#bar) {
      this.#bar.setTotal(total)
      this.#bar.update(state.step, { body })
      return
    }
    this.#bar = new SingleBar({
      format: `{bar} step {value}${state.total === undefined ? '' : '/{total}'}  {body}`,
      stream: this.#options.stream,
      barsize: 24,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      hideCursor: true,
      linewrap: false,
      gracefulExit: false,
      fps: 10,
    })
    this.#bar.start(total, state.step, { body })
  }

  note(line: string): void {
    const last = this.#last
    this.end()
    this.#options.stream.write(`${line}\n`)
    this.#last = last
  }

  end(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}
