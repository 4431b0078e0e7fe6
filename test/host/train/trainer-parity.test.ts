// What data-parallel training must keep: the same curve however the batch is cut over devices and
// micro-steps, the same bits for the same seed, and the same bits on every replica.

import { describe, expect, it } from 'vitest'
import { allowTf32, Trainer, type TrainerOptions, type TrainResult } from 'weft'
import { several, severalNames } from '../device.js'

allowTf32(false) // curves are compared closely
const task = new URL('../tasks/regression.mjs', import.meta.url)

const trained = (options: Partial<TrainerOptions>): Promise<TrainResult> =>
  new Trainer({ task, steps: 100, seed: 5, run: false, ...options }).fit()

/** Largest relative difference over the two curves. */
function difference(a: number[], b: number[]): number {
  expect(a).toHaveLength(100)
  expect(b).toHaveLength(100)
  return Math.max(...a.map((loss, i) => Math.abs(loss - b[i]!) / Math.abs(b[i]!)))
}

describe('the same batch on any number of devices', () => {
  it('gives the same curve: 4 × 16 samples and 1 × 64', async () => {
    const one = await trained({ ...several(1), batchSize: 64 })
    const four = await trained({ ...several(4), batchSize: 16 })
    expect(four.devices).toEqual(severalNames(4))
    expect(one.losses.at(-1)!).toBeLessThan(one.losses[0]! / 2)
    expect(difference(four.losses, one.losses)).toBeLessThan(1e-4)
    expect(four.metrics.error!).toBeCloseTo(one.metrics.error!, 4)
    expect(four.replicasEqual).toBe(true)
  })

  it('accumulates micro-steps to the same gradient', async () => {
    // With one rank, four batches of 16 in order are one batch of 64.
    const whole = await trained({ ...several(1), batchSize: 64 })
    const cut = await trained({ ...several(1), batchSize: 16, accumulate: 4 })
    expect(difference(cut.losses, whole.losses)).toBeLessThan(1e-4)
  })

  it('clips the reduced gradient, so that the curve stays the same', async () => {
    const one = await trained({ ...several(1), batchSize: 64, clipNorm: 0.1 })
    const four = await trained({ ...several(4), batchSize: 16, clipNorm: 0.1 })
    const free = await trained({ ...several(1), batchSize: 64 })
    expect(difference(four.losses, one.losses)).toBeLessThan(1e-4)
    expect(one.hash).not.toBe(free.hash)
  })

  it('does not depend on the size of the buckets', async () => {
    const large = await trained({ ...several(3), batchSize: 16, steps: 100 })
    const small = await trained({
      ...several(3),
      batchSize: 16,
      steps: 100,
      bucketMegabytes: 0.001,
    })
    expect(difference(small.losses, large.losses)).toBeLessThan(1e-4)
    expect(small.replicasEqual).toBe(true)
  })
})

describe('the same seed', () => {
  it('gives the same bits twice, and other bits for another seed', async () => {
    const first = await trained({ ...several(4), batchSize: 16 })
    const second = await trained({ ...several(4), batchSize: 16 })
    expect(second.losses).toEqual(first.losses)
    expect(second.hash).toBe(first.hash)
    const other = await trained({ ...several(4), batchSize: 16, seed: 6 })
    expect(other.hash).not.toBe(first.hash)
  })
})
