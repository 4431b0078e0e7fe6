// A run from the outside: what fit() returns, what it tells on the way, and what it writes.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Snapshot, type TrainEvent, Trainer, type TrainerOptions } from 'weft'
import { parseSafetensors } from '../../../src/checkpoint/safetensors.js'
import { readJsonLines } from '../../../src/metrics/jsonl.js'
import { choicesFile, several, severalNames } from '../device.js'

const task = new URL('../tasks/regression.mjs', import.meta.url)

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-runs-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const trainer = (options: Partial<TrainerOptions> = {}) =>
  new Trainer({
    task,
    ...several(2),
    steps: 30,
    batchSize: 8,
    runsFolder: folder,
    run: 'test',
    ...options,
  })

describe('fit', () => {
  it('trains, evaluates, reports and writes the run', async () => {
    const events: TrainEvent[] = []
    const onEvent = (event: TrainEvent) => events.push(event)
    const result = await trainer({ logEvery: 10, evaluateEvery: 20, onEvent }).fit()

    expect(result).toMatchObject({
      steps: 30,
      replicasEqual: true,
      stopped: false,
      devices: severalNames(2),
      run: join(folder, 'test'),
    })
    expect(result.losses).toHaveLength(30)
    expect(result.loss).toBe(result.losses.at(-1))
    expect(result.samplesPerSecond).toBeGreaterThan(0)
    expect(result).toMatchObject({ unit: 'samples', tokensPerSecond: undefined })
    expect(result.communicationShare).toBeGreaterThanOrEqual(0)
    expect(result.communicationShare).toBeLessThanOrEqual(1)
    expect(result.metrics.error).toBeGreaterThan(0)

    const kinds = events.map((event) => event.kind).filter((kind) => kind !== 'progress')
    expect(kinds).toEqual(['start', 'log', 'log', 'evaluation', 'log', 'evaluation'])
    expect(events[0]).toMatchObject({ task: 'regression', totalSteps: 30, parameterTensors: 6 })

    expect(readdirSync(join(folder, 'test')).sort()).toEqual([
      'config.json',
      'curves.svg',
      ...choicesFile,
      'metrics.jsonl',
      'result.json',
      'snapshot.bin',
      'weights.safetensors',
    ])
    const lines = readJsonLines(join(folder, 'test', 'metrics.jsonl'))
    expect(lines.map(({ kind, step }) => [kind, step])).toEqual([
      ['train', 10],
      ['train', 20],
      ['evaluation', 20],
      ['train', 30],
      ['evaluation', 30],
    ])
    expect(lines[0]).toMatchObject({ lr: 3e-3, loss: expect.any(Number) })
    const config = JSON.parse(readFileSync(join(folder, 'test', 'config.json'), 'utf8'))
    expect(config).toMatchObject({ task: 'regression', settings: { steps: 30, batchSize: 8 } })
    const snapshot = Snapshot.decode(readFileSync(join(folder, 'test', 'snapshot.bin')))
    expect(snapshot.devices.length).toBeGreaterThanOrEqual(2)
    const marks = snapshot.events.filter((event) => event.kind === 'step')
    const last = marks.filter((event) => event.id === 30).map((event) => event.device)
    expect(new Set(last).size).toBe(2)
    const weights = parseSafetensors(readFileSync(join(folder, 'test', 'weights.safetensors')))
    expect(weights.metadata).toMatchObject({ task: 'regression', step: '30' })
    expect(weights.tensors['first.weight']).toMatchObject({ dtype: 'f32', shape: [32, 8] })
  })

  it('counts epochs when they bound the run, and knows the total before', async () => {
    const events: TrainEvent[] = []
    const result = await new Trainer({
      task,
      ...several(2),
      epochs: 2,
      batchSize: 128,
      run: false,
      onEvent: (event) => events.push(event),
    }).fit()
    // 2048 samples over 2 ranks in batches of 128.
    expect(result.steps).toBe(16)
    expect(events[0]).toMatchObject({ totalSteps: 16, run: undefined })
    expect(result.run).toBeUndefined()
  })

  it('divides a short last window of micro-steps by what it holds', async () => {
    // 16 batches an epoch, five at a time: windows of 5, 5, 5 and 1.
    const result = await trainer({
      ...several(1),
      batchSize: 128,
      accumulate: 5,
      epochs: 1,
      steps: undefined,
      run: false,
    } as Partial<TrainerOptions>).fit()
    expect(result.steps).toBe(4)
    expect(result.losses[3]! / result.losses[2]!).toBeGreaterThan(0.3)
    expect(result.losses[3]! / result.losses[2]!).toBeLessThan(3)
  })

  it('runs a TypeScript task with a schedule, an ending and lines to print', async () => {
    const events: TrainEvent[] = []
    const result = await trainer({
      task: new URL('../tasks/scheduled.ts', import.meta.url),
      steps: 10,
      logEvery: 5,
      onEvent: (event) => events.push(event),
    }).fit()
    expect(result.steps).toBe(10)
    const rates = events.flatMap((event) => (event.kind === 'log' ? [event.lr] : []))
    expect(rates[0]).toBeCloseTo(0.1 * 0.5, 9)
    expect(rates[1]).toBeCloseTo(0.1 * 1, 9)
    const printed = events.flatMap((event) => (event.kind === 'print' ? [event.line] : []))
    expect(printed).toEqual([`finished on ${severalNames(2)[0]}`, 'in evaluation mode'])
  })

  it('never overwrites a run', async () => {
    const first = await trainer({ steps: 1 }).fit()
    const second = await trainer({ steps: 1 }).fit()
    expect(first.run).toBe(join(folder, 'test'))
    expect(second.run).toBe(join(folder, 'test-2'))
  })

  it('can be called again, but not while it runs', async () => {
    const one = trainer({ steps: 2, run: false })
    const running = one.fit()
    await expect(one.fit()).rejects.toThrow(/already running/)
    const first = await running
    expect((await one.fit()).hash).toBe(first.hash)
  })
})

describe('stop and abort', () => {
  it('stops all ranks after the same step and still writes everything', async () => {
    const one = trainer({
      steps: 100_000,
      onEvent: (event) => {
        if (event.kind === 'progress' && event.step > 20) one.stop()
      },
    })
    const result = await one.fit()
    expect(result.stopped).toBe(true)
    expect(result.replicasEqual).toBe(true)
    expect(result.steps).toBeGreaterThan(20)
    expect(result.steps).toBeLessThan(100_000)
    const weights = parseSafetensors(readFileSync(join(result.run!, 'weights.safetensors')))
    expect(weights.metadata.step).toBe(String(result.steps))
  })

  it.each([1, 2])('on %d devices no step begins after the stop', async (count) => {
    const asked: number[] = []
    const one = trainer({
      ...several(count),
      run: false,
      steps: 100_000,
      onEvent: (event) => {
        if (event.kind !== 'progress' || event.step <= 20) return
        // Between two chunks of steps none is in progress.
        asked.push(event.step)
        one.stop()
      },
    })
    const result = await one.fit()
    expect(result.stopped).toBe(true)
    expect([result.steps]).toEqual(asked)
  })

  it('stops before the first step when asked while the run is set up', async () => {
    const one = trainer({ steps: 100_000 })
    const running = one.fit()
    one.stop()
    expect(await running).toMatchObject({ steps: 0, stopped: true, replicasEqual: true })
  })

  it('outside a run changes nothing: the next run has its length and its end', async () => {
    const one = trainer({ steps: 6, run: false })
    one.stop()
    one.abort()
    expect(await one.fit()).toMatchObject({ steps: 6, stopped: false })
    one.stop()
    one.abort()
    expect(await one.fit()).toMatchObject({ steps: 6, stopped: false })
  })

  it('in the last step leaves a run that is complete, not a stopped one', async () => {
    const one = trainer({
      steps: 8,
      run: false,
      onEvent: (event) => {
        if (event.kind === 'progress' && event.step === 8) one.stop()
      },
    })
    expect(await one.fit()).toMatchObject({ steps: 8, stopped: false })
  })

  it('aborts at once with a named error', async () => {
    const one = trainer({
      steps: 100_000,
      onEvent: (event) => {
        if (event.kind === 'progress' && event.step > 20) one.abort('enough')
      },
    })
    await expect(one.fit()).rejects.toMatchObject({
      code: 'WEFT_WORKER',
      message: 'the run was aborted: enough',
    })
    expect(readdirSync(join(folder, 'test')).sort()).toEqual([
      'config.json',
      'flight.bin',
      ...choicesFile,
      'metrics.jsonl',
      'result.json',
    ])
  })
})
