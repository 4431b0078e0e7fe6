// MLflow's tracking server over its REST API (version 2.0): experiments, runs, batches of metrics and parameters. Every
// request has a limit and a bounded number of attempts. mlflow.ts calls it; it knows nothing of weft's events.
import { setTimeout as delay } from 'node:timers/promises'

/** Attempts of a request that the server could not answer, and the pause before the second; the third waits four times that. */
const attempts = 3
const firstPauseMs = 250

/** What the API takes at most in a batch. */
export const batchLimits = { metrics: 1000, params: 100, valueLength: 500 } as const

export interface MlflowMetric {
  key: string
  value: number
  /** Milliseconds since 1970. */
  timestamp: number
  step: number
}
export interface MlflowParam {
  key: string
  value: string
}
/** What is read of a run; MLflow writes 64-bit numbers as text and leaves zeros out. */
interface RunFields {
  info?: { lifecycle_stage?: string }
  /** The latest value of each metric, by step. */
  data?: { metrics?: { key: string; step?: number | string }[] }
}
export type MlflowStatus = 'RUNNING' | 'FINISHED' | 'FAILED' | 'KILLED'

/** What the server refused; `code` is MLflow's own, such as RESOURCE_DOES_NOT_EXIST. */
export class MlflowRefusal extends Error {
  readonly code: string | undefined
  constructor(message: string, code: string | undefined) {
    super(message)
    this.code = code
  }
}

/** Keys may hold letters, digits and some signs. */
export const mlflowKey = (name: string) => name.replaceAll(/[^\w\-. :/]/g, '_')

/** JSON has no NaN; the API reads these words. */
const jsonNumber = (value: number) => (Number.isFinite(value) ? value : String(value))

/** As MLflow's own client reads them: a token, or a name and a password. */
function authorization(environment: NodeJS.ProcessEnv): Record<string, string> {
  const { MLFLOW_TRACKING_TOKEN: token, MLFLOW_TRACKING_USERNAME: name } = environment
  if (token) return { authorization: `Bearer ${token}` }
  if (!name) return {}
  const pair = `${name}:${environment.MLFLOW_TRACKING_PASSWORD ?? ''}`
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` }
}

/** A tracking server. */
export class MlflowClient {
  readonly #base: string
  readonly #timeoutMs: number
  readonly #closed = new AbortController()

  constructor(trackingUri: string, timeoutMs: number) {
    this.#base = `${trackingUri.replace(/\/+$/, '')}/api/2.0/mlflow/`
    this.#timeoutMs = timeoutMs
  }

  /** Ends every request, now and from now on. */
  abort(): void {
    this.#closed.abort(new Error('closed'))
  }

  /** The id of the experiment of this name, which is made where there is none. */
  async experiment(name: string): Promise<string> {
    const found = await this.#findExperiment(name)
    if (found !== undefined) return found
    try {
      const { experiment_id: id } = await this.#post('experiments/create', { name })
      return String(id)
    } catch (error) {
      // Somebody else made it meanwhile, or an attempt that seemed to fail did.
      const made = isRefusal(error, 'RESOURCE_ALREADY_EXISTS')
        ? await this.#findExperiment(name)
        : undefined
      if (made === undefined) throw error
      return made
    }
  }

  /** The last step of each metric of a run; undefined where there is no run of this id that may be added to. */
  async lastSteps(id: string): Promise<Map<string, number> | undefined> {
    try {
      const { run } = (await this.#get('runs/get', { run_id: id })) as { run: RunFields }
      if (run.info?.lifecycle_stage === 'deleted') return undefined
      const metrics = run.data?.metrics ?? []
      return new Map(metrics.map(({ key, step }) => [key, Number(step ?? 0)]))
    } catch (error) {
      if (isRefusal(error, 'RESOURCE_DOES_NOT_EXIST')) return undefined
      throw error
    }
  }

  /** Makes a run and returns its id. */
  async createRun(experiment: string, name: string, startTime: number): Promise<string> {
    const fields = { experiment_id: experiment, run_name: name, start_time: startTime }
    const { run } = await this.#post('runs/create', fields)
    return (run as { info: { run_id: string } }).info.run_id
  }

  /** Adds metrics and parameters, at most {@link batchLimits} of them. */
  async logBatch(run: string, metrics: MlflowMetric[], params: MlflowParam[] = []): Promise<void> {
    const values = metrics.map((metric) => ({ ...metric, value: jsonNumber(metric.value) }))
    await this.#post('runs/log-batch', { run_id: run, metrics: values, params })
  }

  /** Sets a run's state; with `endTime` that it is over. */
  async setStatus(run: string, status: MlflowStatus, endTime?: number): Promise<void> {
    const end = endTime === undefined ? {} : { end_time: endTime }
    await this.#post('runs/update', { run_id: run, status, ...end })
  }

  async #findExperiment(name: string): Promise<string | undefined> {
    try {
      const found = await this.#get('experiments/get-by-name', { experiment_name: name })
      const { experiment_id: id, lifecycle_stage: stage } = found.experiment as Record<
        string,
        string
      >
      if (stage !== 'deleted') return id
      throw new MlflowRefusal(`the experiment ${name} was deleted there`, undefined)
    } catch (error) {
      if (isRefusal(error, 'RESOURCE_DOES_NOT_EXIST')) return undefined
      throw error
    }
  }

  #get(path: string, query: Record<string, string>) {
    return this.#request(`${path}?${new URLSearchParams(query)}`, { method: 'GET' })
  }

  #post(path: string, body: object) {
    return this.#request(path, { method: 'POST', body: JSON.stringify(body) })
  }

  /** Asks until the server answers, a few times; what it refuses is not asked again. */
  async #request(path: string, init: { method: string; body?: string }) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(path, init)
      } catch (error) {
        const over = error instanceof MlflowRefusal || this.#closed.signal.aborted
        if (over || attempt === attempts) throw error
        const pause = firstPauseMs * 4 ** (attempt - 1)
        await delay(pause, undefined, { signal: this.#closed.signal })
      }
    }
  }

  async #once(path: string, init: { method: string; body?: string }) {
    const headers = { 'content-type': 'application/json', ...authorization(process.env) }
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(this.#timeoutMs)])
    const what = `${init.method} ${this.#base}${path.split('?')[0]}`
    let status: number
    let text: string
    try {
      const response = await fetch(this.#base + path, { ...init, headers, signal })
      status = response.status
      text = await response.text()
    } catch (error) {
      const { message, cause } = error as Error & { cause?: Error }
      throw new Error(`${what}: ${cause?.message || message}`, { cause: error })
    }
    const answer = readObject(text)
    if (status === 200 && answer !== undefined) return answer
    const { error_code: code, message } = (answer ?? {}) as Record<string, string | undefined>
    const told = `${what}: ${status} ${code ?? ''} ${message ?? text.slice(0, 200)}`
    if (status >= 500 || status === 429) throw new Error(told)
    throw new MlflowRefusal(told, code)
  }
}

const isRefusal = (error: unknown, code: string) =>
  error instanceof MlflowRefusal && error.code === code

function readObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}
