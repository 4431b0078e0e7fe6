// The loop's options and the task's looks at it: gradient norm, groups by name, callbacks, unused parameters,
// evaluation by epoch, early stop.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type TrainEvent, Trainer, type TrainerOptions, UsageError, WorkerError } from 'weft'
import { readJsonLines } from '../../../src/metrics/jsonl.js'
import { several, severalNames } from '../device.js'

let folder: string
let log: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-loop-'))
  log = join(folder, 'log.jsonl')
  process.env.WEFT_TEST_LOG = log
})
afterEach(() => {
  delete process.env.WEFT_TEST_LOG
  delete process.env.WEFT_TEST_WATCH
  rmSync(folder, { recursive: true })
})

async function fit(options: Partial<TrainerOptions> = {}) {
  const events: TrainEvent[] = []
  const result = await new Trainer({
    task: new URL('../tasks/watched.mjs', import.meta.url),
    ...several(2),
    steps: 20,
    batchSize: 16,
    runsFolder: folder,
    run: 'r',
    logEvery: 1,
    onEvent: (event) => events.push(event),
    ...options,
  } as TrainerOptions).fit()
  const norms = events.flatMap((event) => (event.kind === 'log' ? [event.gradNorm] : []))
  return { ...result, events, norms }
}
const records = () => readJsonLines(log)

describe('the gradient norm', () => {
  it('is reported where gradients are clipped, and where it is asked for, to the same bits of the weights', async () => {
    const plain = await fit()
    expect(plain.norms).toEqual(Array(20).fill(undefined))
    const measured = await fit({ gradNorm: true })
    expect(measured.hash).toBe(plain.hash)
    for (const norm of measured.norms) expect(norm).toBeGreaterThan(0)
    const clipped = await fit({ clipNorm: 0.01 })
    expect(clipped.hash).not.toBe(plain.hash)
    // Before clipping.
    expect(clipped.norms[0]).toBe(measured.norms[0])
    expect(clipped.norms[0]).toBeGreaterThan(0.01)
    const lines = readJsonLines(join(clipped.run!, 'metrics.jsonl'))
    expect(lines[0]!.gradNorm).toBe(clipped.norms[0])
  })

  it('is that of the step that a graph replays', async () => {
    const eager = await fit({ gradNorm: true })
    const graph = await fit({ gradNorm: true, graph: true })
    expect(graph.hash).toBe(eager.hash)
    expect(graph.norms).toEqual(eager.norms)
  })
})

describe('metrics of training steps', () => {
  it.each([
    ['eager', {}],
    ['with accumulation', { accumulate: 3 }],
    ['captured', { graph: true }],
  ])('are means over ranks and steps, %s', async (_name, options) => {
    const { events, run } = await fit({ ...options, logEvery: 4 })
    const logs = events.flatMap((event) => (event.kind === 'log' ? [event] : []))
    expect(logs).toHaveLength(5)
    for (const { loss, metrics } of logs) {
      expect(metrics!.double! / (2 * loss)).toBeCloseTo(1, 5)
      expect(metrics!.rows).toBeCloseTo(16, 4)
    }
    const lines = readJsonLines(join(run!, 'metrics.jsonl')).filter(({ kind }) => kind === 'train')
    expect(lines.map(({ metrics }) => metrics)).toEqual(logs.map(({ metrics }) => metrics))
  })

  it.each([
    ['names', /metrics m1, before it was m0/],
    ['text', /metric size: a string; each must be a number or a tensor/],
  ])('that are wrong are named: %s', async (what, pattern) => {
    process.env.WEFT_TEST_WATCH = what
    await expect(fit()).rejects.toThrow(UsageError)
    await expect(fit()).rejects.toThrow(pattern)
  })
})

describe('parameter groups by name', () => {
  it('have the options of the first rule that matches', async () => {
    await fit({ ...several(1), steps: 1 })
    expect(records()[0]).toEqual({
      groups: [
        [2, { weightDecay: 0 }],
        [1, { lr: 0.002 }],
        [2, null],
      ],
    })
  })
})

describe('beforeStep and afterStep', () => {
  it('see model, optimizer and batches of every step on every rank, and leak nothing', async () => {
    await fit({ accumulate: 2, epochs: 2, steps: undefined as never })
    const steps = records().filter((record) => 'step' in record)
    // 1000 samples over 2 ranks: 31 batches, 16 steps an epoch.
    expect(steps).toHaveLength(2 * 2 * 16)
    for (const rank of [0, 1]) {
      const own = steps.filter((record) => record.rank === rank)
      expect(own.map(({ step }) => step)).toEqual(Array.from({ length: 32 }, (_, i) => i))
      expect(own.map(({ taken }) => taken)).toEqual(Array.from({ length: 32 }, (_, i) => i + 1))
      expect(own.at(0)).toMatchObject({ epoch: 0, batches: 2, rows: 16, layers: 3 })
      expect(own.at(-1)).toMatchObject({ epoch: 1, batches: 1, device: severalNames(2)[rank] })
    }
  })

  it('that throw are named', async () => {
    process.env.WEFT_TEST_WATCH = 'throw'
    const failing = fit()
    await expect(failing).rejects.toThrow(WorkerError)
    await expect(failing).rejects.toThrow(/task\.beforeStep threw RangeError: not this one/)
  })
})

describe('parameters that a step does not use', () => {
  it.each(['branch', 'never'])('%s: an error that names them, or zeros', async (what) => {
    process.env.WEFT_TEST_WATCH = what
    const failing = fit()
    await expect(failing).rejects.toThrow(UsageError)
    await expect(failing).rejects.toThrow(/does not depend on side\.weight/)
    const result = await fit({ unusedParameters: 'zero' })
    expect(result).toMatchObject({ steps: 20, replicasEqual: true })
    expect((await fit({ unusedParameters: 'zero' })).hash).toBe(result.hash)
  })
})

describe('evaluation', () => {
  const evaluated = (events: TrainEvent[]) =>
    events.flatMap((event) => (event.kind === 'evaluation' ? [event.step] : []))

  it("with 'epoch' is at the end of each", async () => {
    // 31 batches an epoch on a rank.
    const { events } = await fit({ evaluateEvery: 'epoch', steps: 70 })
    expect(evaluated(events)).toEqual([31, 62, 70])
  })

  it('that no longer improves ends the run, also a resumed one at the same step', async () => {
    const earlyStop = { metric: 'error', mode: 'max' as const, patience: 2 }
    const options = { evaluateEvery: 5, earlyStop, steps: 200 }
    // The error falls: by mode 'max' the first evaluation stays the best.
    const whole = await fit(options)
    expect(whole.steps).toBe(15)
    expect(evaluated(whole.events)).toEqual([5, 10, 15])
    const notes = whole.events.flatMap((event) => (event.kind === 'note' ? [event.line] : []))
    expect(notes).toEqual([expect.stringMatching(/^early stop: error has not improved for 2 eval/)])
    const stopping = new Trainer({
      task: new URL('../tasks/watched.mjs', import.meta.url),
      ...several(2),
      ...options,
      batchSize: 16,
      runsFolder: folder,
      run: 'stopped',
      checkpoint: { everySteps: 7 },
      onEvent: (event) => {
        if (event.kind === 'progress' && event.step >= 7) stopping.stop()
      },
    })
    await stopping.fit()
    const resumed = await fit({ ...options, resume: join(folder, 'stopped') })
    expect(resumed).toMatchObject({ steps: 15, hash: whole.hash })
    await expect(
      fit({ ...options, earlyStop: { ...earlyStop, metric: 'accuracy' } }),
    ).rejects.toThrow(/earlyStop: the task's evaluate gives error, not accuracy/)
  })
})

it('what a run is told stands in its config.json', async () => {
  const { run } = await fit({ gradNorm: true, unusedParameters: 'zero', evaluateEvery: 'epoch' })
  const { options, settings } = JSON.parse(readFileSync(join(run!, 'config.json'), 'utf8'))
  expect(options).toMatchObject({ gradNorm: true, unusedParameters: 'zero' })
  expect(settings.evaluateEvery).toBe(31)
})
