// Sink prometheus: what is served while a run goes on, and what is written, is read by the parser of Prometheus' own
// Python client and compared with the run's events; a port that is taken or a package that is missing is told by name.
// The parser: npm run readers
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type TrainEvent, Trainer, type TrainerOptions } from 'weft'
import { several, severalNames } from '../device.js'

const task = new URL('../tasks/regression.mjs', import.meta.url)
const packages = fileURLToPath(new URL('../../../.weft/prometheus', import.meta.url))
const parser = existsSync(join(packages, 'prometheus_client'))
const withParser = (promise: string) =>
  parser ? promise : `${promise} (skipped: no .weft/prometheus, npm run readers)`

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-prometheus-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function trainer(options: Partial<TrainerOptions>) {
  const events: TrainEvent[] = []
  const { onEvent, ...rest } = options
  const made = new Trainer({
    ...{ task, ...several(2), runsFolder: folder, run: 'r', batchSize: 8, steps: 30, logEvery: 5 },
    evaluateEvery: 10,
    gradNorm: true,
    ...rest,
    onEvent: (event) => {
      events.push(event)
      onEvent?.(event)
    },
  })
  return { events, fit: () => made.fit() }
}

const lines = (events: TrainEvent[], start: string) =>
  events.flatMap((event) =>
    event.kind === 'note' && event.line.startsWith(start) ? [event.line] : [],
  )

interface Sample {
  name: string
  type: string
  labels: Record<string, string>
  value: number
}

/** Samples of an exposition, by Prometheus' own parser: it refuses what is not well-formed. */
function parse(text: string): Sample[] {
  const program = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([{'name': s.name, 'type': f.type, 'labels': s.labels, 'value': s.value}
  for f in text_string_to_metric_families(sys.stdin.read()) for s in f.samples]))`
  const { stdout, stderr, status } = spawnSync('python3', ['-c', program], {
    ...{ encoding: 'utf8', input: text, timeout: 60_000 },
    env: { ...process.env, PYTHONPATH: packages },
  })
  expect(status, stderr).toBe(0)
  return JSON.parse(stdout)
}

const figure = (samples: Sample[], name: string, label: Record<string, string> = {}) =>
  samples.find(
    (sample) =>
      sample.name === name && Object.entries(label).every(([k, v]) => sample.labels[k] === v),
  )?.value

describe('the Prometheus sink', () => {
  it.skipIf(!parser)(
    withParser('serves the figures of the moment, and closes its port with the run'),
    async () => {
      let url = ''
      const scrapes: Promise<Response>[] = []
      const { fit } = trainer({
        sinks: ['prometheus:0'],
        onEvent: (event) => {
          if (event.kind === 'note' && event.line.startsWith('metrics ')) {
            url = event.line.slice(10)
          }
          if (event.kind === 'log' && url !== '') scrapes.push(fetch(url))
        },
      })
      const { steps } = await fit()
      expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
      const first = await scrapes[0]!
      expect(first.headers.get('content-type')).toMatch('text/plain; version=0.0.4')
      const samples = parse(await first.text())
      const step = figure(samples, 'weft_step', { run: 'r', task: 'regression' })!
      expect(step).toBeGreaterThan(0)
      expect(step).toBeLessThan(steps)
      expect(figure(samples, 'weft_total_steps')).toBe(30)
      for (const name of severalNames(2)) {
        expect(
          figure(samples, 'weft_device_memory_reserved_bytes', { device: name }),
        ).toBeGreaterThan(0)
      }
      await Promise.allSettled(scrapes)
      await expect(fetch(url)).rejects.toThrow()
    },
  )

  it.skipIf(!parser)(withParser('writes what the last log line and evaluation told'), async () => {
    const file = join(folder, 'weft.prom')
    const { events, fit } = trainer({ sinks: [{ kind: 'prometheus', file }] })
    await fit()
    const samples = parse(readFileSync(file, 'utf8'))
    const log = events.findLast((event) => event.kind === 'log')!
    const evaluation = events.findLast((event) => event.kind === 'evaluation')!
    expect(figure(samples, 'weft_step')).toBe(30)
    expect(figure(samples, 'weft_loss')).toBe(log.loss)
    expect(figure(samples, 'weft_learning_rate')).toBe(log.lr)
    expect(figure(samples, 'weft_samples_per_second')).toBe(log.samplesPerSecond)
    expect(figure(samples, 'weft_gradient_norm')).toBe(log.gradNorm)
    expect(figure(samples, 'weft_held_out_metric', { metric: 'error' })).toBe(
      evaluation.metrics.error,
    )
    expect(figure(samples, 'weft_restarts_total')).toBe(0)
    expect(samples.find(({ name }) => name === 'weft_restarts_total')?.type).toBe('counter')
    // This run has no loss scale, so there is no such figure.
    expect(figure(samples, 'weft_loss_scale')).toBeUndefined()
  })

  it.skipIf(!parser)(withParser('counts restarts, and listens on its port again'), async () => {
    const file = join(folder, 'weft.prom')
    process.env.WEFT_TEST_FAULT = 'throw:1:7'
    const { events, fit } = trainer({
      task: new URL('../tasks/faulty.mjs', import.meta.url),
      sinks: [{ kind: 'prometheus', file, port: 0 }],
      restarts: 1,
      onEvent: (event) => {
        if (event.kind === 'restart') delete process.env.WEFT_TEST_FAULT
      },
    })
    await fit()
    expect(lines(events, 'metrics ')).toHaveLength(2)
    expect(figure(parse(readFileSync(file, 'utf8')), 'weft_restarts_total')).toBe(1)
  })

  it('whose port is taken is told once, and the run goes on', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { port } = other.address() as AddressInfo
    const { events, fit } = trainer({ sinks: [{ kind: 'prometheus', port }] })
    const { steps } = await fit()
    other.close()
    expect(steps).toBe(30)
    expect(lines(events, 'sink prometheus failed')).toEqual([
      `sink prometheus failed and is left out: listen EADDRINUSE: address already in use 127.0.0.1:${port}`,
    ])
  })

  it('without prom-client is an error that says what to install, before anything opens', () => {
    const hook = `export async function resolve(name, context, next) {
      if (name === 'prom-client') throw Object.assign(new Error('no'), { code: 'ERR_MODULE_NOT_FOUND' })
      return next(name, context)
    }`
    const module = (text: string) =>
      `data:text/javascript;base64,${Buffer.from(text).toString('base64')}`
    const register = `import { register } from 'node:module'
      register('${module(hook)}')`
    const command = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))
    const started = ['--import', module(register), command]
    const flags = ['--steps', '5', '--runs-folder', folder, '--sink', 'prometheus:0']
    const ended = spawnSync(
      process.execPath,
      [...started, 'train', fileURLToPath(task), '--devices', 'host:0-1', ...flags],
      { encoding: 'utf8', timeout: 60_000 },
    )
    expect(ended.stderr).toContain(
      'the sink prometheus needs the package prom-client: npm install prom-client@^15.1.3',
    )
    expect(ended.status).not.toBe(0)
    expect(existsSync(join(folder, 'regression'))).toBe(false)
  })

  it('refuses what is no port, no file, no sink', () => {
    const make = (sinks: unknown) => () => new Trainer({ task, sinks } as TrainerOptions)
    expect(make(['prometheus:70000'])).toThrow(/sinks\.0: port/)
    expect(make(['promtheus'])).toThrow(/"promtheus" is no sink: use tensorboard, prometheus,/)
    expect(make([{ kind: 'prometheus', prot: 1 }])).toThrow(/prot/)
    expect(
      make(['prometheus:0.0.0.0:9464', { kind: 'prometheus', file: 'x.prom' }])(),
    ).toMatchObject({
      options: {
        sinks: [
          { kind: 'prometheus', host: '0.0.0.0', port: 9464 },
          { kind: 'prometheus', file: 'x.prom' },
        ],
      },
    })
    expect(() => new Trainer({ task, run: false, sinks: ['prometheus'] })).not.toThrow()
  })
})
