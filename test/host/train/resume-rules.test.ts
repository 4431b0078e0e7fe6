// What does not fit a checkpoint, the rules for another number of devices, and restarts after a worker died.
import { cpSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { CheckpointError, UsageError, WorkerError } from 'weft'
import { several } from '../device.js'
import { resumableRuns, STEPS } from './resumable-runs.js'

const { folder, run, checkpoints, trainer, whole, until, resume, killing } = resumableRuns()

describe('what does not fit', () => {
  it.each([
    ['width', /first\.weight is \[128, 8\] f32 in it, \[96, 8\] f32 in the task; .*middle\.weight/],
    ['layer', /spare\.weight \[1, 1\] f32 is not in it/],
    ['name', /it is of task resumable, this is another/],
    ['sgd', /its optimizer is adamw, the task's is sgd/],
    [
      'order',
      /parameter 0 of the optimizer's group 0 is first\.weight in it, last\.bias in the task/,
    ],
  ])('another %s is a CheckpointError that names it', async (change, pattern) => {
    await until(3)
    process.env.WEFT_TEST_RESUME = change
    const failing = resume()
    await expect(failing).rejects.toThrow(CheckpointError)
    await expect(failing).rejects.toThrow(pattern)
  })

  it('nor another seed, nor a place where nothing is', async () => {
    await until(3)
    await expect(resume({ seed: 5 })).rejects.toThrow(/seed 0, not 5/)
    await expect(resume({ resume: 'nothing' })).rejects.toThrow(/nothing to resume/)
    await expect(resume({ resume: folder() })).rejects.toThrow(/neither a run .* nor a checkpoint/)
    const torn = join(checkpoints(), 'step-00000003')
    rmSync(join(torn, 'checkpoint.json'))
    await expect(resume({ resume: torn })).rejects.toThrow(/never completed/)
  })

  it('an optimizer without a state is refused before the first step', async () => {
    process.env.WEFT_TEST_RESUME = 'stateless'
    const failing = trainer({ checkpoint: { everySteps: 5 } }).fit()
    await expect(failing).rejects.toThrow(UsageError)
    await expect(failing).rejects.toThrow(/stateDict/)
  })

  it('checkpoints need a folder(), and a metric that there is', async () => {
    expect(() => trainer({ run: false, checkpoint: {} })).toThrow(
      /checkpoint needs the run's folder/,
    )
    const best = { metric: 'accuracy', mode: 'max' } as const
    await expect(trainer({ evaluateEvery: 5, checkpoint: { best } }).fit()).rejects.toThrow(
      /gives error, not accuracy/,
    )
  })
})

describe('another number of devices', () => {
  it.each([2, 3])('4 → %d: goes on at the same place of the data, and says so', async (count) => {
    await until(10)
    const copy = join(folder(), 'copy')
    cpSync(run(), copy, { recursive: true })
    const result = await resume(several(count))
    expect(result).toMatchObject({ steps: STEPS, replicasEqual: true })
    expect(result.notes).toEqual([
      `devices 4 → ${count}: the run goes on, but not with the bits that it would have had`,
    ])
    // The same again gives the same bits.
    const again = await resume({ ...several(count), resume: copy })
    expect(again.hash).toBe(result.hash)
  })

  it('epochs end where all samples were seen once', async () => {
    const options = { steps: undefined as never, epochs: 1 }
    await until(5, options)
    // 5 batches of 16 on 4 ranks are 10 on 2; an epoch has 31 there.
    const result = await resume({ ...options, ...several(2) })
    expect(result.losses).toHaveLength(21)
    expect(result.steps).toBe(26)
  })
})

describe('restarts', () => {
  const many = { steps: 300 }

  it.each([0, 2])(
    'a worker of rank %d that dies: the run ends with the same bits',
    async (rank) => {
      const expected = await whole(many)
      const { run, restarts } = killing(rank, 'checkpoint', { ...many, restarts: 1 })
      const result = await run.fit()
      expect(result.losses.length).toBeLessThan(many.steps)
      expect(result).toMatchObject({ steps: many.steps, hash: expected.hash, replicasEqual: true })
      expect(restarts).toEqual([expect.stringMatching(/worker of rank \d/)])
      expect(readdirSync(folder())).toEqual(['test'])
    },
  )

  it('without a checkpoint yet it starts again in the same folder', async () => {
    const expected = await whole(many)
    const checkpoint = { everyMinutes: 60 }
    const { run, restarts } = killing(1, 'progress', { ...many, restarts: 1, checkpoint })
    expect(await run.fit()).toMatchObject({ steps: many.steps, hash: expected.hash })
    expect(restarts).toHaveLength(1)
    expect(readdirSync(folder())).toEqual(['test'])
  })

  it('no more than so many, and none for a fault of the call', async () => {
    const once = killing(1, 'checkpoint', { ...many, restarts: 0 })
    await expect(once.run.fit()).rejects.toThrow(WorkerError)
    process.env.WEFT_TEST_RESUME = 'stateless'
    const { run, restarts } = killing(1, 'checkpoint', { ...many, restarts: 3 })
    await expect(run.fit()).rejects.toThrow(UsageError)
    expect(restarts).toEqual([])
  })
})
