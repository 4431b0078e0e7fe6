// MLflow as a sink: an experiment, a run in it with the settings as parameters, metrics of log lines and evaluations in
// batches, and how the run ended. sinks.ts opens it.
//
// Design. take() only puts figures in a list; one sender at a time takes what lies there, so the steps never wait for
// the server, and a server that stands still costs a bounded list and then the sink. The id of the run is kept in
// mlflow.json of the run's folder, so that a resumed run goes on in the same one.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeJsonAtomically } from '../../checkpoint/atomic-write.js'
import { withDeadline } from '../../fabric/deadline.js'
import { UsageError } from '../../native/errors.js'
import type { TrainEvent } from '../events.js'
import { batchLimits, MlflowClient, type MlflowMetric, mlflowKey } from './mlflow-client.js'
import { figuresOf, type RunEnd, type Sink, type SinkRun } from './sink.js'
import type { SinkSettings } from './sink-options.js'

/** Settings of which it is known where the server is. */
export type MlflowSettings = Extract<SinkSettings, { kind: 'mlflow' }> & { trackingUri: string }

/** So many figures may wait for the server. */
const mostWaiting = 50_000
/** How long the end of a run waits for what was not sent yet. */
const closeMs = 10_000

const statuses = { finished: 'FINISHED', stopped: 'KILLED', failed: 'FAILED' } as const

/** The settings with the server that they or MLFLOW_TRACKING_URI name; a UsageError where that is none. */
export function withServer(settings: Extract<SinkSettings, { kind: 'mlflow' }>): MlflowSettings {
  const trackingUri = settings.trackingUri ?? process.env.MLFLOW_TRACKING_URI
  const { protocol, username } = URL.canParse(trackingUri ?? '')
    ? new URL(trackingUri!)
    : { protocol: '', username: '' }
  if (!/^https?:$/.test(protocol)) {
    const got = trackingUri === undefined ? 'none is given' : `not ${JSON.stringify(trackingUri)}`
    throw new UsageError(
      `the sink mlflow needs the http(s) address of a server (${got}): set MLFLOW_TRACKING_URI, or use --sink mlflow:http://…`,
      { trackingUri },
    )
  }
  if (username !== '') {
    throw new UsageError(
      'the address of the sink mlflow must hold no name or password: use MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD',
    )
  }
  return { ...settings, trackingUri: trackingUri! }
}

/** The sink. */
export class MlflowSink implements Sink {
  readonly #client: MlflowClient
  readonly #settings: MlflowSettings
  readonly #run: SinkRun
  /** The run's id there; rejects where the server does not answer. */
  readonly #id: Promise<string>
  #waiting: MlflowMetric[] = []
  /** The last step of each metric that an attempt before this one sent: steps taken again are not sent again. */
  #told = new Map<string, number>()
  #sending: Promise<void> | undefined

  constructor(settings: MlflowSettings, run: SinkRun) {
    this.#settings = settings
    this.#run = run
    this.#client = new MlflowClient(settings.trackingUri, settings.timeoutMs)
    this.#id = this.#open()
    this.#id.catch((error: Error) => run.fail(error))
  }

  take(event: TrainEvent): void {
    if (event.kind === 'evaluation') this.#add(event.step, 'held-out', event.metrics)
    else if (event.kind === 'log') {
      const { step, own, metrics } = figuresOf(event)
      this.#add(step, 'train', { ...own, ...metrics })
    }
  }

  async close(end: RunEnd): Promise<void> {
    const work = this.#finish(end)
    try {
      await withDeadline(work, closeMs, () => {
        throw new Error(`the server did not take the last figures within ${closeMs / 1000} s`)
      })
    } finally {
      this.#client.abort()
    }
  }

  release(): void {
    this.#client.abort()
  }

  async #finish(end: RunEnd): Promise<void> {
    const id = await this.#id
    await this.#sending
    await this.#client.setStatus(id, statuses[end], Date.now())
  }

  /** Finds or makes experiment and run, and sends the settings. */
  async #open(): Promise<string> {
    const { name, task, folder } = this.#run
    const { trackingUri } = this.#settings
    const before = readId(folder, trackingUri)
    const told = before === undefined ? undefined : await this.#client.lastSteps(before)
    if (before !== undefined && told !== undefined) {
      this.#told = told
      await this.#client.setStatus(before, 'RUNNING')
      return before
    }
    const experiment = this.#settings.experiment ?? process.env.MLFLOW_EXPERIMENT_NAME ?? task
    const experimentId = await this.#client.experiment(experiment)
    const id = await this.#client.createRun(experimentId, name, Date.now())
    if (folder !== undefined) {
      await writeJsonAtomically(idFile(folder), { trackingUri, experiment, runId: id })
    }
    const params = Object.entries(this.#run.settings).map(([key, value]) => ({
      key: mlflowKey(key),
      value: String(value).slice(0, batchLimits.valueLength),
    }))
    for (let at = 0; at < params.length; at += batchLimits.params) {
      await this.#client.logBatch(id, [], params.slice(at, at + batchLimits.params))
    }
    return id
  }

  #add(step: number, group: string, figures: Record<string, number>): void {
    const timestamp = Date.now()
    for (const [name, value] of Object.entries(figures)) {
      this.#waiting.push({ key: mlflowKey(`${group}/${name}`), value, timestamp, step })
    }
    if (this.#waiting.length > mostWaiting) {
      throw new Error(`the server is too slow: ${this.#waiting.length} figures wait for it`)
    }
    this.#sending ??= this.#send()
  }

  async #send(): Promise<void> {
    try {
      const id = await this.#id
      while (this.#waiting.length > 0) {
        const batch = this.#waiting.splice(0, batchLimits.metrics)
        const fresh = batch.filter(({ key, step }) => step > (this.#told.get(key) ?? -1))
        if (fresh.length > 0) await this.#client.logBatch(id, fresh)
      }
    } catch (error) {
      this.#run.fail(error as Error)
    } finally {
      this.#sending = undefined
    }
  }
}

const idFile = (folder: string) => join(folder, 'mlflow.json')

/** The id that an attempt before this one has there. */
function readId(folder: string | undefined, trackingUri: string): string | undefined {
  if (folder === undefined) return undefined
  try {
    const kept = JSON.parse(readFileSync(idFile(folder), 'utf8')) as Record<string, unknown>
    return kept.trackingUri === trackingUri && typeof kept.runId === 'string'
      ? kept.runId
      : undefined
  } catch {
    return undefined // a new one is made
  }
}
