// The steps of a run, seen from the coordinator: sends chunks of steps to all ranks, checks what they
// report, evaluates when it is due, and knows why the run ended. The coordinator sets it up.
import type { Manifest } from '../checkpoint/manifest.js'
import { unequalDataError } from './agreement.js'
import type { Checkpoints } from './checkpoints.js'
import type { Crew } from './crew.js'
import type { EarlyStop } from './early-stop.js'
import type { Metrics } from './events.js'
import type { RunSettings } from './options.js'
import type { ProfileWindow } from './profile-window.js'
import type { Recorder } from './recorder.js'
import type { NonFiniteWatch } from './skipped-steps.js'
import type { RunReply } from './worker/protocol.js'

/** How long a chunk of steps should take, so that progress stays live. */
const CHUNK_SECONDS = 0.25
/** A chunk has at most so many times the steps of the one before: the first ones are slow. */
const CHUNK_GROWTH = 8

/** What a training loop works with. */
export interface TrainingParts {
  crew: Crew
  recorder: Recorder
  settings: RunSettings
  totalSteps: number | undefined
  evaluates: boolean
  checkpoints: Checkpoints | undefined
  /** Where a resumed run begins. */
  resumed: Pick<Manifest, 'step' | 'data' | 'metrics' | 'lr'> | undefined
  earlyStop: EarlyStop | undefined
  profile: ProfileWindow | undefined
  nonFinite: NonFiniteWatch
}

/** Drives the workers through the steps. */
export class Training {
  readonly #parts: TrainingParts
  #chunkSteps = 1
  #lr: number | undefined
  #evaluatedAt = -1

  constructor(parts: TrainingParts) {
    this.#parts = parts
    const { resumed, recorder } = parts
    if (!resumed) return
    this.#lr = resumed.lr
    if (!resumed.metrics) return
    this.#evaluatedAt = resumed.step
    recorder.recall(resumed.metrics)
  }

  /** Steps done. */
  get steps(): number {
    return this.#parts.recorder.steps
  }

  /** Of the last step of this fit(). */
  get loss(): number | undefined {
    return this.#parts.recorder.losses.at(-1)
  }

  /** Metrics of the evaluation at this very step; undefined where there was none. */
  get evaluated(): Metrics | undefined {
    return this.#evaluatedAt === this.steps ? this.#parts.recorder.metrics : undefined
  }

  /** Why the run ends before its length; undefined where it does not. */
  get earlyStop(): string | undefined {
    return this.#parts.earlyStop?.reason
  }

  /** Trains to the end. Resolves to true when the run was stopped before. */
  async run(): Promise<boolean> {
    const { totalSteps, recorder, checkpoints, profile } = this.#parts
    let ended: RunReply['ended'] = this.#wasDone() ? 'epochs' : 'count'
    if (this.earlyStop !== undefined) ended = 'epochs'
    while (ended === 'count' && (totalSteps === undefined || this.steps < totalSteps)) {
      ended = await this.#chunk()
      if (ended === 'count' && this.#untilEvaluation() === 0) await this.evaluate()
      if (ended === 'count') await checkpoints?.step(this)
      if (this.earlyStop !== undefined) break
    }
    await profile?.after(this.steps, true)
    profile?.end()
    recorder.log(this.#lr)
    return ended === 'stop'
  }

  /** Was the run that is resumed at the end of its epochs? */
  #wasDone(): boolean {
    const { settings, resumed } = this.#parts
    if (!resumed || settings.epochs === undefined) return false
    const { epoch, ended } = resumed.data
    return epoch + (ended ? 1 : 0) >= settings.epochs
  }

  /** Evaluates on all ranks, unless that was done at this step. */
  async evaluate(): Promise<void> {
    const { crew, recorder, settings, evaluates } = this.#parts
    if (!evaluates || this.#evaluatedAt === this.steps) return
    this.#evaluatedAt = this.steps
    const started = performance.now()
    const { batchSize } = settings
    const replies = await crew.sendAll<'evaluate'>(() => ({ kind: 'evaluate', batchSize }))
    const metrics = combineSums(replies.map((reply) => reply.sums))
    recorder.evaluation(metrics, (performance.now() - started) / 1000)
    this.#parts.earlyStop?.evaluated(this.steps, metrics)
  }

  async #chunk(): Promise<RunReply['ended']> {
    const { crew, settings, checkpoints, profile, totalSteps } = this.#parts
    profile?.before(this.steps)
    const from = this.steps + 1
    const count = this.#nextCount()
    const { epochs } = settings
    const started = performance.now()
    const last = from + count - 1
    // One that has the metrics of an evaluation, or is the run's last, waits for the end of the chunk.
    const atEnd = count === this.#untilEvaluation() || last === totalSteps
    const checkpoint = checkpoints?.within(this.steps, atEnd ? last - 1 : last)
    const replies = await crew.sendAll<'run'>(() => ({
      kind: 'run',
      ...{ from, count, epochs, checkpoint },
    }))
    const seconds = (performance.now() - started) / 1000
    this.#record(from, replies, seconds)
    await profile?.after(this.steps)
    const { ended, losses, snapshot } = replies[0]!
    if (checkpoint) {
      const loss = this.#parts.recorder.losses.at(checkpoint.step - this.steps - 1)
      checkpoints!.taken(checkpoint.step, replies, loss)
    }
    if (snapshot) checkpoints?.written(snapshot)
    if (ended === 'unequal') throw unequalDataError(from + losses.length, replies)
    this.#chunkSteps = Math.min(
      count * CHUNK_GROWTH,
      Math.max(1, Math.floor((count * CHUNK_SECONDS) / seconds)),
    )
    return ended
  }

  #record(from: number, replies: RunReply[], seconds: number): void {
    const ranks = replies.length
    const perRank = replies.map((reply) => reply.losses)
    this.#parts.nonFinite.look(from, replies)
    const losses = perRank[0]!.map(
      (_, step) => perRank.reduce((sum, values) => sum + values[step]!, 0) / ranks,
    )
    for (const line of replies[0]!.notes) this.#parts.recorder.note(line)
    if (losses.length === 0) return
    this.#lr = replies[0]!.lr
    this.#parts.recorder.chunk({
      losses,
      seconds,
      samples: replies.reduce((sum, reply) => sum + reply.samples, 0),
      waitSeconds: replies.reduce((sum, reply) => sum + reply.waitSeconds, 0) / ranks,
      lr: this.#lr,
      lossScale: replies[0]!.lossScale,
      gradNorm: replies[0]!.gradNorm,
      metrics: meanOver(replies.map((reply) => reply.metrics)),
    })
  }

  #nextCount(): number {
    const { recorder, totalSteps, checkpoints, profile } = this.#parts
    return Math.min(
      this.#chunkSteps,
      profile?.most(this.steps) ?? Infinity,
      recorder.untilLog,
      checkpoints?.most(this.steps) ?? Infinity,
      this.#untilEvaluation() || Infinity,
      totalSteps === undefined ? Infinity : totalSteps - this.steps,
    )
  }

  /** Steps until an evaluation is due: 0 when it is due now, Infinity when none is asked for. */
  #untilEvaluation(): number {
    const { settings, evaluates } = this.#parts
    const every = settings.evaluateEvery
    if (!evaluates || every === 0 || every === 'epoch') return Infinity
    const since = this.steps % every
    if (since === 0 && this.steps > 0 && this.#evaluatedAt !== this.steps) return 0
    return every - since
  }
}

/** The mean over ranks of each sum. */
function meanOver(ranks: Metrics[]): Metrics {
  const means = Object.keys(ranks[0]!).map((name): [string, number] => [
    name,
    ranks.reduce((sum, metrics) => sum + metrics[name]!, 0) / ranks.length,
  ])
  return Object.fromEntries(means)
}

/** Sums over ranks, divided by the summed count. */
export function combineSums(sums: Record<string, number>[]): Metrics {
  const totals: Record<string, number> = {}
  for (const [name, value] of sums.flatMap((rank) => Object.entries(rank))) {
    totals[name] = (totals[name] ?? 0) + value
  }
  const { count = 0, ...rest } = totals
  return Object.fromEntries(Object.entries(rest).map(([name, total]) => [name, total / count]))
}
