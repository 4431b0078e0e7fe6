// Sink mlflow: what a run sends, against a server that refuses what MLflow's would, and against MLflow itself where it is
// installed (python3 -m venv .weft/mlflow && .weft/mlflow/bin/pip install mlflow==3.18.0); a server that is slow, gone or
// refuses costs the sink and not the run.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type TrainEvent, Trainer, type TrainerOptions } from 'weft'
import { readJsonLines } from '../../../src/metrics/jsonl.js'
import { several } from '../device.js'
import { MlflowServer } from './mlflow-server.js'

const task = new URL('../tasks/regression.mjs', import.meta.url)
const program = fileURLToPath(new URL('../../../.weft/mlflow/bin/mlflow', import.meta.url))
const installed = existsSync(program)

let folder: string
let server: MlflowServer
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'weft-mlflow-'))
  server = await MlflowServer.listen()
})
afterEach(async () => {
  await server.close()
  rmSync(folder, { recursive: true })
})

function trainer(trackingUri: string, options: Partial<TrainerOptions> = {}) {
  const events: TrainEvent[] = []
  const made = new Trainer({
    ...{ task, ...several(2), runsFolder: folder, run: 'r', batchSize: 8, steps: 30, logEvery: 5 },
    evaluateEvery: 10,
    seed: 3,
    sinks: [{ kind: 'mlflow', trackingUri, experiment: 'tests of weft', timeoutMs: 2_000 }],
    ...options,
    onEvent: (event) => {
      events.push(event)
      options.onEvent?.(event)
    },
  })
  const notes = () => events.flatMap((event) => (event.kind === 'note' ? [event.line] : []))
  return { made, notes, run: () => made.fit() }
}

/** [step, value] of a key in metrics.jsonl. */
const logged = (kind: string, key: string) =>
  readJsonLines(join(folder, 'r', 'metrics.jsonl'))
    .filter((line) => line.kind === kind)
    .map((line) => [Number(line.step), Number(line[key])])

/** Takes the run's checkpoints behind a step away. */
function forget(step: number): void {
  const checkpoints = join(folder, 'r', 'checkpoints')
  for (const name of readdirSync(checkpoints)) {
    if (Number(name.replace('step-', '')) > step)
      rmSync(join(checkpoints, name), { recursive: true })
  }
}

describe('the MLflow sink', () => {
  it('makes experiment and run, and sends settings, figures and the end', async () => {
    await trainer(server.url).run()
    expect(server.complaints).toEqual([])
    expect(server.experiments).toEqual(['tests of weft'])
    expect(server.runs).toHaveLength(1)
    const [run] = server.runs
    expect(run).toMatchObject({ name: 'r', status: 'FINISHED' })
    expect(run!.end).toBeGreaterThanOrEqual(run!.start)
    expect(run!.params).toMatchObject({
      task: 'regression',
      batchSize: '8',
      seed: '3',
      steps: '30',
    })
    expect(run!.series('train/loss')).toEqual(logged('train', 'loss'))
    expect(run!.series('train/lr')).toEqual(logged('train', 'lr'))
    expect(run!.series('held-out/error')).toEqual(logged('evaluation', 'error'))
    expect(run!.series('train/loss').map(([step]) => step)).toEqual([5, 10, 15, 20, 25, 30])
  })

  it('goes on in the same run when weft resumes, and makes another where that is gone', async () => {
    await trainer(server.url, { checkpoint: { everySteps: 10 } }).run()
    await trainer(server.url, { resume: true, steps: 40, sinks: [] }).run()
    expect(server.complaints).toEqual([])
    expect(server.runs).toHaveLength(1)
    expect(server.runs[0]!.statuses).toEqual(['FINISHED', 'RUNNING', 'FINISHED'])
    expect(server.runs[0]!.series('train/loss').at(-1)![0]).toBe(40)
    server.runs.length = 0
    await trainer(server.url, { resume: true, steps: 50, sinks: [] }).run()
    expect(server.runs).toHaveLength(1)
    const kept = JSON.parse(readFileSync(join(folder, 'r', 'mlflow.json'), 'utf8'))
    expect(kept.runId).toBe(server.runs[0]!.id)
  })

  it('has steps that a resumed run takes again once', async () => {
    await trainer(server.url, { checkpoint: { everySteps: 10, keep: 5 } }).run()
    forget(10)
    const again = trainer(server.url, { resume: true, steps: 40, sinks: [] })
    await again.run()
    expect(again.notes().join()).not.toContain('sink mlflow failed')
    expect(logged('train', 'loss').map(([step]) => step)).toEqual([5, 10, 15, 20, 25, 30, 35, 40])
    const [run] = server.runs
    expect(run!.series('train/loss')).toEqual(logged('train', 'loss'))
    expect(run!.series('held-out/error')).toEqual(logged('evaluation', 'error'))
  })

  it('tells how a run ended that was stopped or failed', async () => {
    const stopping = trainer(server.url, {
      steps: 10_000,
      onEvent: (event) => event.kind === 'log' && stopping.made.stop(),
    })
    await stopping.run()
    process.env.WEFT_TEST_FAULT = 'throw:1:7'
    const faulty = new URL('../tasks/faulty.mjs', import.meta.url)
    await expect(trainer(server.url, { task: faulty, run: 'f' }).run()).rejects.toThrow(/broken/)
    delete process.env.WEFT_TEST_FAULT
    expect(server.complaints).toEqual([])
    expect(server.runs.map(({ status }) => status)).toEqual(['KILLED', 'FAILED'])
  })

  it('asks again where the server is busy, and not where it refuses', async () => {
    server.busy = 2
    await trainer(server.url).run()
    expect(server.runs[0]!.series('train/loss')).toEqual(logged('train', 'loss'))
    const before = server.requests
    server.refuses = true
    const { notes, run } = trainer(server.url, { run: 'again' })
    expect((await run()).steps).toBe(30)
    expect(server.requests - before).toBe(1)
    expect(notes().filter((line) => line.startsWith('sink mlflow failed'))).toEqual([
      expect.stringMatching(/experiments\/get-by-name: 403 PERMISSION_DENIED not yours$/),
    ])
  })

  it('of a server that never answers or is gone: told once, the run goes on and ends soon', async () => {
    const silent = createServer(() => {})
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const address = (port: number) => `http://127.0.0.1:${port}`
    const { port } = silent.address() as AddressInfo
    const trackingUri = address(port)
    const sinks = [{ kind: 'mlflow' as const, trackingUri, timeoutMs: 100 }]
    const waiting = trainer('', { sinks })
    const started = performance.now()
    expect((await waiting.run()).steps).toBe(30)
    expect(performance.now() - started).toBeLessThan(15_000)
    silent.closeAllConnections()
    await new Promise((resolve) => silent.close(resolve))
    const gone = trainer(trackingUri, { run: 'gone' })
    expect((await gone.run()).steps).toBe(30)
    for (const { notes } of [waiting, gone]) {
      expect(notes().filter((line) => line.startsWith('sink mlflow failed'))).toHaveLength(1)
    }
    expect(gone.notes().join()).toContain('ECONNREFUSED')
  })

  it('without the address of a server is an error that says how to give one', async () => {
    const sinks = ['mlflow' as const]
    await expect(trainer('', { sinks }).run()).rejects.toThrow(/set MLFLOW_TRACKING_URI/)
    expect(() => trainer('', { sinks: ['mlflow:ftp://there'] })).toThrow(/trackingUri: it must be/)
    const withName: TrainerOptions['sinks'] = ['mlflow:http://me:secret@there']
    const refused = trainer('', { sinks: withName }).run()
    await expect(refused).rejects.toThrow(/MLFLOW_TRACKING_USERNAME/)
    await expect(refused).rejects.not.toThrow(/secret/)
  })

  it.skipIf(!installed)(
    installed
      ? 'is read back from MLflow'
      : 'is read back from MLflow (skipped: none in .weft/mlflow)',
    async () => {
      const mlflow = await startMlflow(folder)
      try {
        process.env.MLFLOW_TRACKING_URI = mlflow.url
        const checkpoint = { everySteps: 10, keep: 5 }
        const { notes, run } = trainer('', { sinks: ['mlflow'], checkpoint })
        await run()
        expect(notes().filter((line) => line.startsWith('sink'))).toEqual([])
        forget(10)
        await trainer('', { resume: true, steps: 40, sinks: [] }).run()
        const { runId } = JSON.parse(readFileSync(join(folder, 'r', 'mlflow.json'), 'utf8'))
        const read = await readRun(mlflow.url, runId, ['train/loss', 'held-out/error'])
        expect(read).toMatchObject({ status: 'FINISHED', name: 'r', experiment: 'regression' })
        expect(read.params).toMatchObject({ task: 'regression', batchSize: '8', seed: '3' })
        expect(read.series['train/loss']).toEqual(logged('train', 'loss'))
        expect(read.series['held-out/error']).toEqual(logged('evaluation', 'error'))
      } finally {
        delete process.env.MLFLOW_TRACKING_URI
        mlflow.child.kill()
        await once(mlflow.child, 'exit')
      }
    },
  )
})

/** MLflow's own server on a free port, with its files in `folder`. */
async function startMlflow(folder: string): Promise<{ child: ChildProcess; url: string }> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  const store = ['--backend-store-uri', `sqlite:///${folder}/mlflow.db`]
  const place = ['--host', '127.0.0.1', '--port', String(port), '--workers', '1']
  const child = spawn(
    program,
    ['server', ...store, '--artifacts-destination', join(folder, 'artifacts'), ...place],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const said: string[] = []
  for await (const line of createInterface({ input: child.stderr! })) {
    said.push(line)
    if (line.includes('Application startup complete')) {
      child.stderr!.resume()
      return { child, url: `http://127.0.0.1:${port}` }
    }
  }
  throw new Error(`mlflow did not start: ${said.join('\n')}`)
}

interface ReadRun {
  status: string
  name: string
  experiment: string
  params: Record<string, string>
  series: Record<string, [number, number][]>
}

/** A run as MLflow's own Python client reads it. */
async function readRun(url: string, runId: string, keys: string[]): Promise<ReadRun> {
  const text = `
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
run = client.get_run(sys.argv[2])
print(json.dumps({
  'status': run.info.status, 'name': run.info.run_name,
  'experiment': client.get_experiment(run.info.experiment_id).name, 'params': run.data.params,
  'series': {key: [[m.step, m.value] for m in client.get_metric_history(sys.argv[2], key)] for key in sys.argv[3:]}}))`
  const python = join(program, '../python')
  const child = spawn(python, ['-c', text, url, runId, ...keys], { timeout: 60_000 })
  let out = ''
  let err = ''
  child.stdout.on('data', (data) => (out += data))
  child.stderr.on('data', (data) => (err += data))
  const [status] = await once(child, 'close')
  expect(status, err).toBe(0)
  return JSON.parse(out)
}
