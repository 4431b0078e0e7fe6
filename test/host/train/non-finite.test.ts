// nonFinite: 'error', 'skip' and 'ignore': a step whose gradients are not finite on one rank is left out on all, on the
// device, eager and captured; it is told and counted, also over a resume; too many in a row are an error.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NonFiniteLossError, type TrainEvent, Trainer, type TrainerOptions, UsageError } from 'weft'
import { readJsonLines } from '../../../src/metrics/jsonl.js'
import { several } from '../device.js'

const task = new URL('../tasks/non-finite-data.mjs', import.meta.url)

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-non-finite-'))
})
afterEach(() => {
  delete process.env.WEFT_TEST_NAN
  rmSync(folder, { recursive: true })
})

/** Trains with NaN in the batches that `nan` lists. */
async function train(nan: string, options: Partial<TrainerOptions> = {}) {
  process.env.WEFT_TEST_NAN = nan
  const events: TrainEvent[] = []
  const result = await new Trainer({
    ...{ task, ...several(2), steps: 20, batchSize: 8, seed: 4, clipNorm: 1 },
    ...{ runsFolder: folder, run: 'r', nonFinite: 'skip' as const },
    ...options,
    onEvent: (event: TrainEvent) => events.push(event),
  } as TrainerOptions).fit()
  const told = events.flatMap((event) =>
    event.kind === 'note' && event.line.startsWith('left out') ? [event.line] : [],
  )
  return { ...result, events, told }
}

describe("nonFinite: 'skip'", () => {
  it.each([{ graph: false }, { graph: true }])(
    'leaves a step out on all ranks, $graph captured',
    async ({ graph }) => {
      const before = await train('', { steps: 11, graph })
      const result = await train('12', { steps: 12, graph })
      expect(result).toMatchObject({ skippedSteps: 1, replicasEqual: true, hash: before.hash })
      expect(result.told).toEqual(['left out  step 12: gradients that are not finite'])
      expect(result.losses.map(Number.isFinite)).toEqual([...Array(11).fill(true), false])
      const longer = await train('9,12,13', { steps: 20, graph })
      expect(longer).toMatchObject({ skippedSteps: 3, replicasEqual: true, steps: 20 })
      expect(longer.losses.at(-1)).toBeLessThan(longer.losses[0]!)
    },
  )

  it('captured or not, the run has the same bits', async () => {
    const eager = await train('9,12,13')
    const captured = await train('9,12,13', { graph: true })
    expect(captured.events.some((e) => e.kind === 'note' && /captured/.test(e.line))).toBe(true)
    expect([captured.hash, captured.skippedSteps]).toEqual([eager.hash, 3])
  })

  it('changes no bit of a run whose numbers are finite', async () => {
    const plain = await train('', { nonFinite: 'error' })
    const skipping = await train('')
    expect(skipping.hash).toBe(plain.hash)
    expect([plain.skippedSteps, skipping.skippedSteps]).toEqual([undefined, 0])
    expect(skipping.told).toEqual([])
  })

  it('counts over a resume, and figures of the steps around it are not lost', async () => {
    const whole = await train('3,14', { checkpoint: { everySteps: 10 }, logEvery: 4 })
    await train('3,14', { run: 's', steps: 10, checkpoint: { everySteps: 10 }, logEvery: 4 })
    const resumed = await train('3,14', { run: 's', resume: true, steps: 20, logEvery: 4 })
    expect([resumed.hash, resumed.skippedSteps]).toEqual([whole.hash, 2])
    const lines = readJsonLines(join(folder, 's', 'metrics.jsonl')).filter(
      (l) => l.kind === 'train',
    )
    expect(lines.map((line) => line.skippedSteps)).toEqual([1, 1, 1, 1, 2, 2])
    // The mean of the finite losses of the four steps.
    expect(lines.every((line) => Number.isFinite(line.loss))).toBe(true)
  })

  it('ends the run where too many follow each other', async () => {
    const failing = train('5-', { steps: 10_000, maxSkippedInARow: 6 })
    await expect(failing).rejects.toThrow(NonFiniteLossError)
    await expect(failing).rejects.toThrow(
      'gradients were not finite in 6 steps in a row, the last one step 10: see maxSkippedInARow',
    )
    // Not in a row: as many as come.
    const spread = await train('2,3,5,6,8,9,11,12', { maxSkippedInARow: 3 })
    expect(spread.skippedSteps).toBe(8)
  })

  it('in f16 tells what the loss scale leaves out', async () => {
    const overflowing = new URL('../tasks/overflowing.mjs', import.meta.url)
    const options = { task: overflowing, ...several(3), batchSize: 4, precision: 'f16' as const }
    const result = await train('', { ...options, clipNorm: undefined, steps: 4 })
    expect(result).toMatchObject({ skippedSteps: 1, lossScale: 32768 })
    expect(result.told).toEqual(['left out  step 1: gradients that are not finite'])
  })

  it('needs an optimizer that can leave a step out', async () => {
    const own = new URL('../tasks/own-optimizer.mjs', import.meta.url)
    const failing = train('', { task: own })
    await expect(failing).rejects.toThrow(UsageError)
    await expect(failing).rejects.toThrow(
      "nonFinite: 'skip' needs an optimizer of optim: sgd or adamw",
    )
  })
})

it("nonFinite: 'error', the default, ends the run at the first step", async () => {
  const failing = train('7', { nonFinite: undefined })
  await expect(failing).rejects.toThrow(/the loss is not finite at step 7: NaN on rank 1/)
})

it("nonFinite: 'ignore' goes on with whatever comes", async () => {
  const result = await train('7', { nonFinite: 'ignore', clipNorm: undefined, logEvery: 5 })
  expect(result.steps).toBe(20)
  expect(result.loss).toBeNaN()
  expect(result.skippedSteps).toBeUndefined()
  const lines = readJsonLines(join(folder, 'r', 'metrics.jsonl')).filter((l) => l.kind === 'train')
  // A line of steps without a finite loss has none.
  expect(lines.map((line) => 'loss' in line)).toEqual([true, true, false, false])
})
