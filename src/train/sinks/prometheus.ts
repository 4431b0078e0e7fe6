// Metrics of a run for Prometheus, in its exposition format by prom-client (an optional peer dependency): served on a
// port while the run goes on, or written to a file, or both. sinks.ts opens it before the run's devices.
//
// Design. Gauges are set by events, a few times a second, so that a scrape costs the run nothing; memory is read when
// somebody scrapes. The file is replaced whole, one write at a time; what changes meanwhile is in the next one.
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type * as PromClient from 'prom-client'
import { writeAtomically } from '../../checkpoint/atomic-write.js'
import type { TrainEvent } from '../events.js'
import { optionalPackage } from './optional-package.js'
import { figuresOf, type Sink, type SinkRun } from './sink.js'
import type { SinkSettings } from './sink-options.js'

export type PrometheusSettings = Extract<SinkSettings, { kind: 'prometheus' }>

/** Where no port and no file is given; that of OpenTelemetry's exporter. */
const defaultPort = 9464

/** Gauges of the figures that weft has of every run. */
const gauges = {
  loss: ['weft_loss', 'Loss, mean over ranks and the latest steps'],
  lr: ['weft_learning_rate', 'Learning rate of the latest step'],
  samplesPerSecond: ['weft_samples_per_second', 'Samples trained a second, all devices together'],
  communicationShare: [
    'weft_communication_ratio',
    'Share of the time that ranks waited for communication, 0 to 1',
  ],
  gradNorm: ['weft_gradient_norm', 'Norm of the averaged gradients, before clipping'],
  lossScale: ['weft_loss_scale', 'Loss scale of an f16 run'],
  skippedSteps: ['weft_skipped_steps', 'Steps left out because gradients were not finite'],
} as const

const memoryGauges = {
  allocatedBytes: ['weft_device_memory_allocated_bytes', 'Memory in use on the device'],
  reservedBytes: ['weft_device_memory_reserved_bytes', 'Memory that weft holds on the device'],
  peakReservedBytes: [
    'weft_device_memory_peak_reserved_bytes',
    'Most memory that weft held on the device',
  ],
} as const

const keysOf = <T extends object>(object: T) => Object.keys(object) as (keyof T)[]

/** prom-client, or a UsageError that says what to install. */
export const loadPromClient = () =>
  optionalPackage<typeof PromClient>('prom-client', 'the sink prometheus', '^15.1.3')

/** A run's metrics in a registry of its own. */
class RunMetrics {
  readonly registry: PromClient.Registry
  readonly #client: typeof PromClient
  readonly #figures = new Map<string, PromClient.Gauge>()
  readonly #step: PromClient.Gauge
  readonly #totalSteps: PromClient.Gauge
  readonly #task: PromClient.Gauge
  readonly #evaluated: PromClient.Gauge

  constructor(client: typeof PromClient, run: SinkRun) {
    const { Registry, Gauge, Counter } = client
    this.#client = client
    this.registry = new Registry()
    this.registry.setDefaultLabels({ run: run.name, task: run.task })
    const registers = [this.registry]
    const gauge = (name: string, help: string, labelNames: string[] = []) =>
      new Gauge({ name, help, labelNames, registers })
    this.#step = gauge('weft_step', 'Steps done')
    this.#totalSteps = gauge('weft_total_steps', 'Steps of the whole run, where they are known')
    this.#task = gauge('weft_metric', "The task's metrics of training steps", ['metric'])
    this.#evaluated = gauge('weft_held_out_metric', 'Metrics of the latest evaluation', ['metric'])
    const { memory } = run
    for (const key of keysOf(memoryGauges)) {
      const [name, help] = memoryGauges[key]
      new Gauge({
        ...{ name, help, labelNames: ['device'], registers },
        collect() {
          for (const device of memory()) this.set({ device: device.name }, device[key])
        },
      })
    }
    const restarts = new Counter({
      ...{ name: 'weft_restarts_total', registers },
      help: 'Times that the run began again after a worker failed',
    })
    restarts.inc(run.restarts)
  }

  take(event: TrainEvent): void {
    if (event.kind === 'progress' || event.kind === 'log') {
      const { step, own, metrics } = figuresOf(event)
      this.#step.set(step)
      if (event.totalSteps !== undefined) this.#totalSteps.set(event.totalSteps)
      for (const [name, value] of Object.entries(own)) this.#set(name, value)
      for (const [metric, value] of Object.entries(metrics)) this.#task.set({ metric }, value)
    } else if (event.kind === 'resumed') this.#step.set(event.step)
    else if (event.kind === 'evaluation') {
      for (const [metric, value] of Object.entries(event.metrics)) {
        this.#evaluated.set({ metric }, value)
      }
    }
  }

  /** A gauge is made with its first value: a figure that a run does not have is no 0. */
  #set(key: string, value: number): void {
    if (!(key in gauges)) return
    const [name, help] = gauges[key as keyof typeof gauges]
    let gauge = this.#figures.get(key)
    if (gauge === undefined) {
      gauge = new this.#client.Gauge({ name, help, registers: [this.registry] })
      this.#figures.set(key, gauge)
    }
    gauge.set(value)
  }
}

/** The sink: metrics served, written, or both. */
export class PrometheusSink implements Sink {
  readonly #metrics: RunMetrics
  readonly #run: SinkRun
  readonly #server: Server | undefined
  readonly #file: string | undefined
  #writing: Promise<void> | undefined
  #changed = false

  constructor(client: typeof PromClient, settings: PrometheusSettings, run: SinkRun) {
    this.#run = run
    this.#metrics = new RunMetrics(client, run)
    this.#file = settings.file
    const port = settings.port ?? (settings.file === undefined ? defaultPort : undefined)
    if (port !== undefined) this.#server = this.#listen(settings.host, port)
  }

  take(event: TrainEvent): void {
    this.#metrics.take(event)
    if (event.kind === 'log' || event.kind === 'evaluation') this.#write()
  }

  async close(): Promise<void> {
    const server = this.#server
    if (server !== undefined) {
      // The next attempt of a run listens on the same port.
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    }
    if (this.#file === undefined) return
    this.#write()
    await this.#writing
  }

  release(): void {
    this.#server?.close()
    this.#server?.closeAllConnections()
  }

  #listen(host: string, port: number): Server {
    const server = createServer(({ method, url = '' }, response) => {
      const known = url.split('?')[0] === '/metrics'
      if (known && (method === 'GET' || method === 'HEAD')) void this.#answer(response)
      else response.writeHead(known ? 405 : 404).end()
    })
    server.on('error', (error) => this.#run.fail(error))
    server.listen(port, host, () => {
      const { port: own } = server.address() as AddressInfo
      const name = host.includes(':') ? `[${host}]` : host
      this.#run.tell(`metrics   http://${name}:${own}/metrics`)
    })
    server.unref()
    return server
  }

  async #answer(response: ServerResponse): Promise<void> {
    const { registry } = this.#metrics
    try {
      const text = await registry.metrics()
      response.writeHead(200, { 'content-type': registry.contentType }).end(text)
    } catch (error) {
      response.writeHead(500).end(`${(error as Error).message}\n`)
    }
  }

  /** Replaces the file; while one write goes on, the next waits. */
  #write(): void {
    if (this.#file === undefined) return
    this.#changed = true
    this.#writing ??= this.#writeAll(this.#file)
  }

  async #writeAll(file: string): Promise<void> {
    try {
      while (this.#changed) {
        this.#changed = false
        await writeAtomically(file, [await this.#metrics.registry.metrics()])
      }
    } catch (error) {
      this.#run.fail(error as Error)
    } finally {
      this.#writing = undefined
    }
  }
}
