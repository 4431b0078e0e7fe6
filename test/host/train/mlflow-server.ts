// A server that speaks the part of MLflow's REST API that a sink uses and is strict about it: unknown paths, fields,
// ids, batches that are too large and values of the wrong type are refused and noted. mlflow.test.ts uses it.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
  }
}

interface Metric {
  key: string
  value: number
  timestamp: number
  step: number
}

/** A run that was made there. */
export class StoredRun {
  readonly params: Record<string, string> = {}
  readonly metrics: Metric[] = []
  readonly statuses: string[] = []
  end = 0

  constructor(
    readonly id: string,
    readonly name: string,
    readonly start: number,
  ) {}

  get status(): string | undefined {
    return this.statuses.at(-1)
  }

  /** [step, value] of a key, in the order in which they came. */
  series(key: string): [number, number][] {
    return this.metrics
      .filter((metric) => metric.key === key)
      .map(({ step, value }) => [step, value])
  }
}

type Body = Record<string, unknown>

/** Takes a field of a type out of a body; what stays is unknown. */
function take<T>(body: Body, field: string, isType: (value: unknown) => boolean): T {
  const value = body[field]
  if (!isType(value)) {
    throw new Refusal(400, 'INVALID_PARAMETER_VALUE', `${field}: ${JSON.stringify(value)}`)
  }
  delete body[field]
  return value as T
}
const isText = (value: unknown) => typeof value === 'string' && value !== ''
const isWhole = (value: unknown) => Number.isSafeInteger(value)
const isNumber = (value: unknown) =>
  typeof value === 'number' || ['NaN', 'Infinity', '-Infinity'].includes(value as string)
const isKey = (value: unknown) => typeof value === 'string' && /^[\w\-. :/]{1,250}$/.test(value)
const isListOf = (most: number) => (value: unknown) => Array.isArray(value) && value.length <= most

/** The server. */
export class MlflowServer {
  readonly experiments: string[] = []
  readonly runs: StoredRun[] = []
  /** What was wrong with requests; what is not there yet is no fault. */
  readonly complaints: string[] = []
  requests = 0
  /** So many of the next requests get a 503. */
  busy = 0
  refuses = false
  readonly #server: Server

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response))
  }

  static async listen(): Promise<MlflowServer> {
    const made = new MlflowServer()
    await new Promise<void>((resolve) => made.#server.listen(0, '127.0.0.1', resolve))
    return made
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests++
    const sent = await text(request)
    const reply = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (this.busy > 0) {
      this.busy--
      return void response.writeHead(503).end('busy')
    }
    try {
      if (this.refuses) throw new Refusal(403, 'PERMISSION_DENIED', 'not yours')
      reply(200, this.#handle(request.method!, new URL(request.url!, this.url), sent))
    } catch (error) {
      const { status = 500, code = 'INTERNAL_ERROR', message } = error as Refusal
      if (status === 400 || status === 500) this.complaints.push(`${request.url}: ${message}`)
      reply(status, { error_code: code, message })
    }
  }

  #handle(method: string, { pathname, searchParams }: URL, sent: string): object {
    const body: Body = method === 'GET' ? Object.fromEntries(searchParams) : JSON.parse(sent)
    const answers: Record<string, () => object> = {
      'GET experiments/get-by-name': () => this.#experiment(take(body, 'experiment_name', isText)),
      'POST experiments/create': () => this.#makeExperiment(take(body, 'name', isText)),
      'GET runs/get': () => this.#describe(this.#run(body)),
      'POST runs/create': () => this.#makeRun(body),
      'POST runs/update': () => this.#update(this.#run(body), body),
      'POST runs/log-batch': () => this.#log(this.#run(body), body),
    }
    const path = `${method} ${pathname.replace('/api/2.0/mlflow/', '')}`
    const answer = answers[path]
    if (!answer) throw new Refusal(400, 'ENDPOINT_NOT_FOUND', path)
    const result = answer()
    const unknown = Object.keys(body)
    if (unknown.length > 0) throw new Refusal(400, 'INVALID_PARAMETER_VALUE', `fields ${unknown}`)
    return result
  }

  /** As MLflow tells a run: of each metric the value of the greatest step, 64-bit numbers as text. */
  #describe(run: StoredRun) {
    const latest = new Map<string, StoredRun['metrics'][number]>()
    for (const metric of run.metrics) {
      const { step = -1 } = latest.get(metric.key) ?? {}
      if (metric.step >= step) latest.set(metric.key, metric)
    }
    const metrics = [...latest.values()].map((each) => ({ ...each, step: String(each.step) }))
    return { run: { info: { run_id: run.id, lifecycle_stage: 'active' }, data: { metrics } } }
  }

  #experiment(name: string) {
    const index = this.experiments.indexOf(name)
    if (index < 0) throw new Refusal(404, 'RESOURCE_DOES_NOT_EXIST', name)
    return { experiment: { experiment_id: String(index), name, lifecycle_stage: 'active' } }
  }

  #makeExperiment(name: string) {
    if (this.experiments.includes(name)) throw new Refusal(400, 'RESOURCE_ALREADY_EXISTS', name)
    return { experiment_id: String(this.experiments.push(name) - 1) }
  }

  #makeRun(body: Body) {
    const experiment = take<string>(body, 'experiment_id', isText)
    if (!(Number(experiment) in this.experiments)) {
      throw new Refusal(404, 'RESOURCE_DOES_NOT_EXIST', experiment)
    }
    const name = take<string>(body, 'run_name', isText)
    const run = new StoredRun(`run-${this.requests}`, name, take(body, 'start_time', isWhole))
    this.runs.push(run)
    return { run: { info: { run_id: run.id } } }
  }

  #run(body: Body): StoredRun {
    const id = take<string>(body, 'run_id', isText)
    const run = this.runs.find((each) => each.id === id)
    if (!run) throw new Refusal(404, 'RESOURCE_DOES_NOT_EXIST', id)
    return run
  }

  #update(run: StoredRun, body: Body) {
    const known = ['RUNNING', 'FINISHED', 'FAILED', 'KILLED']
    run.statuses.push(take(body, 'status', (value) => known.includes(value as string)))
    if ('end_time' in body) run.end = take(body, 'end_time', isWhole)
    return {}
  }

  #log(run: StoredRun, body: Body) {
    for (const param of take<Body[]>(body, 'params', isListOf(100))) {
      const key = take<string>(param, 'key', isKey)
      const value = take<string>(param, 'value', (v) => isText(v) && String(v).length <= 500)
      if (key in run.params && run.params[key] !== value) {
        throw new Refusal(400, 'INVALID_PARAMETER_VALUE', `${key} changes`)
      }
      run.params[key] = value
    }
    for (const metric of take<Body[]>(body, 'metrics', isListOf(1000))) {
      run.metrics.push({
        key: take(metric, 'key', isKey),
        value: Number(take(metric, 'value', isNumber)),
        timestamp: take(metric, 'timestamp', isWhole),
        step: take(metric, 'step', isWhole),
      })
    }
    return {}
  }
}
