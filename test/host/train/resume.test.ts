// Runs that stop and go on: the bits of an uninterrupted run, and which checkpoint is taken.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type TrainEvent, Trainer, type TrainerOptions } from 'weft'
import { readJsonLines } from '../../../src/metrics/jsonl.js'
import { several } from '../device.js'
import { resumableRuns, STEPS } from './resumable-runs.js'

const { folder, run, checkpoints, kept, trainer, whole, until, resume } = resumableRuns()

describe('a resumed run has the bits of one without an interruption', () => {
  const epoch = 15 // 1000 samples over 4 ranks in batches of 16
  it.each<[string, number, Partial<TrainerOptions>, string?]>([
    ['with dropout, shuffled data, a schedule and a buffer', 17, {}],
    ['from the end of an epoch', 2 * epoch, {}],
    ['from the first step', 1, {}],
    ['with accumulation, in an epoch whose last window is short', 6, { accumulate: 4 }],
    ['with a captured step', 17, { graph: true }],
    ['with a captured step and accumulation', 9, { graph: true, accumulate: 2 }],
    ['bounded by epochs', 17, { steps: undefined as never, epochs: 3 }],
    ['with several buckets and clipping', 17, { bucketMegabytes: 0.02, clipNorm: 0.5 }],
    ['with evaluations', 17, { evaluateEvery: 5 }],
    ['in bf16', 17, { precision: 'bf16' }],
    ['in f16, whose loss is scaled', 17, { precision: 'f16', graph: true }],
    ['with momentum', 17, {}, 'sgd'],
    ['from data that can only be read from the first batch on', 17, {}, 'plain'],
    ['with batches made on a thread of their own', 17, { dataThread: true }],
    ['on one device', 17, several(1)],
  ])('%s', async (_name, step, options, change = 'none') => {
    process.env.WEFT_TEST_RESUME = change
    const expected = await whole(options)
    await until(step, options)
    const result = await resume(options)
    expect(result.losses).toEqual(expected.losses.slice(step))
    expect(result.hash).toBe(expected.hash)
    expect(result).toMatchObject({
      steps: expected.steps,
      metrics: expected.metrics,
      replicasEqual: true,
      run: run(),
      ...(expected.lossScale === undefined ? {} : { lossScale: expected.lossScale }),
    })
  })

  it('with a loss scale that has changed, and steps that were left out', async () => {
    // Overflows of its own: the scale falls, in the first steps and again behind the interruption.
    const task = new URL('../tasks/overflowing.mjs', import.meta.url)
    const options = { task, precision: 'f16' as const }
    const expected = await whole(options)
    expect(expected.skippedSteps).toBeGreaterThan(0)
    await until(12, options)
    const { hash, lossScale, skippedSteps } = await resume(options)
    expect({ hash, lossScale, skippedSteps }).toEqual({
      hash: expected.hash,
      lossScale: expected.lossScale,
      skippedSteps: expected.skippedSteps,
    })
  })

  it('from a checkpoint that ranks took between two steps of one message', async () => {
    // Nothing else is due before step 40, so messages reach over step 13.
    const expected = await whole({})
    const options = { checkpoint: { everySteps: 13, keep: 9 }, logEvery: STEPS }
    expect((await trainer(options).fit()).hash).toBe(expected.hash)
    expect(kept()).toContain('step-00000013')
    const result = await trainer({ resume: join(checkpoints(), 'step-00000013'), run: 'on' }).fit()
    expect(result.losses).toEqual(expected.losses.slice(13))
    expect(result.hash).toBe(expected.hash)
  })

  it('over several interruptions, with evaluations and log lines of each step once', async () => {
    const options = { evaluateEvery: 10, logEvery: 3 }
    const expected = await whole(options)
    await until(9, options)
    const second = trainer({
      ...options,
      logEvery: 5, // so that there is progress at step 25
      resume: run(),
      checkpoint: { everySteps: 25 },
      onEvent: (event) => {
        if (event.kind === 'progress' && event.step >= 25) second.stop()
      },
    })
    await second.fit()
    const result = await resume(options)
    expect(result.hash).toBe(expected.hash)
    const lines = readJsonLines(join(run(), 'metrics.jsonl'))
    const evaluations = lines.filter(({ kind }) => kind === 'evaluation').map(({ step }) => step)
    expect(evaluations).toEqual([9, 10, 20, 25, 30, 40])
    const logged = lines.filter(({ kind }) => kind === 'train').map(({ step }) => step)
    expect(logged).toEqual([...new Set(logged)])
  })

  it('after a failure behind its last checkpoint, whose metrics it takes back', async () => {
    const expected = await whole()
    await until(10, { logEvery: 1 })
    const failing = trainer({
      resume: run(),
      logEvery: 1,
      checkpoint: { everyMinutes: 60 },
      onEvent: (event) => {
        if (event.kind === 'log' && event.step === 29) failing.abort('enough')
      },
    })
    await expect(failing.fit()).rejects.toThrow(/enough/)
    expect(readJsonLines(join(run(), 'metrics.jsonl')).at(-1)).toMatchObject({ step: 29 })
    const result = await resume({ logEvery: 1 })
    expect(result.losses).toEqual(expected.losses.slice(10))
    expect(result.hash).toBe(expected.hash)
    const steps = readJsonLines(join(run(), 'metrics.jsonl')).flatMap(({ kind, step }) =>
      kind === 'train' ? [step] : [],
    )
    expect(steps).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1))
  })
})

describe('which checkpoint is taken', () => {
  it('the newest whole one: torn and damaged ones are passed by and told', async () => {
    const expected = await whole()
    const keep = 3
    await until(10, { checkpoint: { everySteps: 10, keep } })
    await until(20, { checkpoint: { everySteps: 20, keep }, resume: run() })
    await until(30, { checkpoint: { everySteps: 30, keep }, resume: run() })
    expect(kept()).toEqual(['step-00000010', 'step-00000020', 'step-00000030'])
    rmSync(join(checkpoints(), 'step-00000030', 'checkpoint.json'))
    const weights = join(checkpoints(), 'step-00000020', 'weights.safetensors')
    const bytes = readFileSync(weights)
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(weights, bytes)
    const result = await resume()
    expect(result.losses).toHaveLength(STEPS - 10)
    expect(result.hash).toBe(expected.hash)
    expect(result.notes).toEqual([
      expect.stringMatching(/step-00000030 has no checkpoint\.json/),
      expect.stringMatching(/step-00000020.*weights\.safetensors is damaged/),
    ])
  })

  it('keeps the newest, and the best by a metric beside them', async () => {
    const events: TrainEvent[] = []
    await trainer({
      checkpoint: { everySteps: 8, keep: 1, best: { metric: 'error', mode: 'max' } },
      evaluateEvery: 5,
      onEvent: (event) => events.push(event),
    }).fit()
    const evaluations = events.flatMap((event) =>
      event.kind === 'evaluation' ? [[event.step, event.metrics.error] as const] : [],
    )
    const [best, value] = evaluations.reduce((a, b) => (b[1]! > a[1]! ? b : a))
    // The error falls: the first evaluation is the largest.
    expect(best).toBe(5)
    expect(kept()).toEqual(['step-00000005', 'step-00000040'])
    expect(JSON.parse(readFileSync(join(checkpoints(), 'best.json'), 'utf8'))).toEqual({
      step: best,
      metric: 'error',
      value,
      checkpoint: 'step-00000005',
    })
  })

  it('a checkpoint by its path begins a new run, and leaves the old one as it was', async () => {
    const expected = await whole()
    await until(20, { checkpoint: { everySteps: 10 } })
    const before = kept()
    const config = readFileSync(join(run(), 'config.json'), 'utf8')
    const result = await resume({ resume: join(checkpoints(), 'step-00000010'), run: 'branch' })
    expect(result.run).toBe(join(folder(), 'branch'))
    expect(result.losses).toHaveLength(STEPS - 10)
    expect(result.hash).toBe(expected.hash)
    expect(kept()).toEqual(before)
    expect(readFileSync(join(run(), 'config.json'), 'utf8')).toBe(config)
  })

  it('resume: true means the newest run of the task, and a fresh one where there is none', async () => {
    const fresh = await resume({ resume: true, run: undefined as never, steps: 2 })
    expect(fresh.notes).toEqual([expect.stringMatching(/no run to resume/)])
    await until(10)
    const regression = new URL('../tasks/regression.mjs', import.meta.url)
    await trainer({ task: regression, run: 'other', steps: 2 }).fit()
    const result = await resume({ resume: true, run: undefined as never })
    expect(result.run).toBe(run())
    expect(result.losses).toHaveLength(STEPS - 10)
  })

  it('a run that was done stays as it is', async () => {
    const first = await trainer({ checkpoint: { everySteps: 10 } }).fit()
    const again = await resume()
    expect(again).toMatchObject({ steps: STEPS, losses: [], hash: first.hash })
    expect(again.metrics).toEqual(first.metrics)
    const epochs = { steps: undefined as never, epochs: 1, run: 'e' }
    const once = await trainer({ ...epochs, checkpoint: { everySteps: 10 } }).fit()
    const twice = await trainer({ ...epochs, resume: join(folder(), 'e') }).fit()
    expect(twice).toMatchObject({ steps: 15, losses: [], hash: once.hash })
  })

  it('what is not said is as it was in the run', async () => {
    const expected = await whole({ accumulate: 2, evaluateEvery: 7 })
    await until(10, { accumulate: 2, evaluateEvery: 7 })
    const { task, runsFolder } = trainer().options
    const result = await new Trainer({ task, runsFolder, resume: 'test' }).fit()
    expect(result).toMatchObject({ steps: STEPS, hash: expected.hash, metrics: expected.metrics })
    expect(kept()).toHaveLength(2)
  })

  it('a folder that cannot be written costs the checkpoint, not the run', async () => {
    const notes: string[] = []
    const result = await trainer({
      checkpoint: { everySteps: 10 },
      onEvent: (event) => {
        if (event.kind === 'note') notes.push(event.line)
        if (event.kind !== 'checkpoint' || !existsSync(join(checkpoints(), 'step-00000010'))) return
        rmSync(checkpoints(), { recursive: true })
        writeFileSync(checkpoints(), 'in the way')
      },
    }).fit()
    expect(result).toMatchObject({ steps: STEPS, replicasEqual: true })
    expect(notes.at(-1)).toMatch(/checkpoint of step 40 could not be written: .*checkpoints/)
  })
})
