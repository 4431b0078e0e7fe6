// `precision` of a run: curves near f32, replicas bit-equal, the loss scale of f16 and steps left out on all ranks,
// eager and captured; what products of the process may do while an f32 or tf32 run goes on.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  allowTf32,
  type TrainEvent,
  Trainer,
  type TrainerOptions,
  tf32Allowed,
  UsageError,
} from 'weft'
import { several } from '../device.js'

const regression = new URL('../tasks/regression.mjs', import.meta.url)
const overflowing = new URL('../tasks/overflowing.mjs', import.meta.url)

const trained = (options: Partial<TrainerOptions>) =>
  new Trainer({ task: regression, steps: 100, seed: 5, run: false, ...options }).fit()

describe.each(['bf16', 'f16'] as const)('%s', (precision) => {
  test('trains as f32 to its accuracy, with replicas bit-equal', async () => {
    const plain = await trained({ ...several(4), batchSize: 16, precision: 'f32' })
    const mixed = await trained({ ...several(4), batchSize: 16, precision })
    expect(mixed.precision).toBe(precision)
    expect(mixed.losses).not.toEqual(plain.losses)
    const largest = Math.max(...plain.losses.map((loss, i) => Math.abs(loss - mixed.losses[i]!)))
    expect(largest).toBeLessThan(0.02)
    expect(mixed.metrics.error!).toBeCloseTo(plain.metrics.error!, 2)
    expect([plain.replicasEqual, mixed.replicasEqual]).toEqual([true, true])
  })

  test('a captured step gives the bits of eager ones, micro-steps and clipping included', async () => {
    const options = {
      ...several(2),
      steps: 12,
      batchSize: 16,
      accumulate: 2,
      clipNorm: 0.1,
      precision,
    }
    const eager = await trained(options)
    const notes: string[] = []
    const captured = await trained({
      ...options,
      graph: true,
      onEvent: (event) => event.kind === 'note' && notes.push(event.line),
    })
    expect(notes.join()).toMatch(/step captured/)
    expect(captured.losses).toEqual(eager.losses)
    expect(captured.hash).toBe(eager.hash)
    expect(captured.lossScale).toBe(eager.lossScale)
  })

  test('evaluation runs in it too', async () => {
    const evaluated = async (asked: 'f32' | typeof precision) =>
      (await trained({ ...several(1), steps: 1, lr: 1e-30, precision: asked })).metrics.error!
    const [plain, mixed] = [await evaluated('f32'), await evaluated(precision)]
    expect(mixed).not.toBe(plain)
    expect(Math.abs(mixed - plain)).toBeLessThan(0.01)
  })
})

describe('an overflow of one rank', () => {
  const options = { task: overflowing, ...several(3), batchSize: 4, precision: 'f16' as const }

  test('leaves the step out on all ranks: no weight changes, the scale halves', async () => {
    const skipped = await trained({ ...options, steps: 1 })
    // With a rate that changes no bit of the weights.
    const untouched = await trained({ ...options, precision: 'f32', steps: 1, lr: 1e-30 })
    expect(skipped).toMatchObject({ skippedSteps: 1, lossScale: 32768, replicasEqual: true })
    expect(skipped.hash).toBe(untouched.hash)
  })

  test('and the run goes on at the lower scale', async () => {
    const steps = 6
    const eager = await trained({ ...options, steps })
    expect(eager).toMatchObject({ skippedSteps: 1, lossScale: 32768, replicasEqual: true, steps })
    expect(eager.losses[1]).toBe(eager.losses[0])
    expect(eager.losses[5]!).toBeLessThan(eager.losses[0]!)
    const captured = await trained({ ...options, steps, graph: true })
    expect([captured.hash, captured.skippedSteps]).toEqual([eager.hash, 1])
  })

  test('is told by events, the result and metrics.jsonl', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'weft-precision-'))
    const logs: Extract<TrainEvent, { kind: 'log' }>[] = []
    const result = await trained({
      ...options,
      steps: 4,
      logEvery: 2,
      run: 'here',
      runsFolder: folder,
      onEvent: (event) => event.kind === 'log' && logs.push(event),
    })
    const lines = (await readFile(join(result.run!, 'metrics.jsonl'), 'utf8')).trim().split('\n')
    const told = lines.map((line) => JSON.parse(line))
    await rm(folder, { recursive: true })
    const state = { lossScale: 32768, skippedSteps: 1 }
    expect(logs.at(-1)).toMatchObject(state)
    expect(told.filter((line) => line.kind === 'train').at(-1)).toMatchObject(state)
  })
})

test('f32 and tf32 say what products may do while the run goes on, and no longer', async () => {
  const before = tf32Allowed()
  try {
    for (const [precision, allowed] of [
      ['f32', false],
      ['tf32', true],
    ] as const) {
      allowTf32(!allowed)
      const seen: boolean[] = []
      const onEvent = () => void seen.push(tf32Allowed())
      const result = await trained({ ...several(1), steps: 2, precision, onEvent })
      expect([result.precision, new Set(seen), tf32Allowed()]).toEqual([
        precision,
        new Set([allowed]),
        !allowed,
      ])
      expect(result.lossScale).toBeUndefined()
    }
    allowTf32(true)
    expect((await trained({ ...several(1), steps: 1 })).precision).toBe('tf32')
  } finally {
    allowTf32(before)
  }
})

test('another precision is refused', () => {
  expect(() => new Trainer({ task: regression, precision: 'fp8' as 'f16' })).toThrow(UsageError)
})
