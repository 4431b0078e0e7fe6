// Training whose gradients and optimizer state are cut over the ranks: the bits of training where every rank keeps
// all, on any number of ranks, and less memory.
import { afterEach, describe, expect, it } from 'vitest'
import { allowTf32, Trainer, type TrainerOptions, UsageError } from 'weft'
import { several } from '../device.js'

allowTf32(false)
const taskFile = (name: string) => new URL(`../tasks/${name}.mjs`, import.meta.url)
const STEPS = 12

afterEach(() => {
  delete process.env.WEFT_TEST_RESUME
})

async function fit(ranks: number, options: Partial<TrainerOptions> = {}) {
  const notes: string[] = []
  const trainer = new Trainer({
    task: taskFile('resumable'),
    ...several(ranks),
    steps: STEPS,
    batchSize: 8,
    run: false,
    onEvent: (event) => {
      if (event.kind === 'note') notes.push(event.line)
    },
    ...options,
  } as TrainerOptions)
  return { ...(await trainer.fit()), notes }
}

const sharded = { mesh: { shard: 'all' } } as const

async function bothWays(ranks: number, options: Partial<TrainerOptions> = {}) {
  const whole = await fit(ranks, options)
  const cut = await fit(ranks, { ...options, ...sharded })
  expect(cut.replicasEqual).toBe(true)
  return { whole, cut }
}

describe('a sharded run has the losses and weights of one that is not, bit by bit', () => {
  it.each<[string, number, Partial<TrainerOptions>]>([
    ['on two ranks', 2, {}],
    ['on three, over which no size divides evenly', 3, {}],
    ['on four', 4, {}],
    ['on eight', 8, {}],
    ['in buckets smaller than a parameter', 4, { bucketMegabytes: 0.001 }],
    ['with accumulated gradients', 4, { accumulate: 3 }],
    ['in bf16', 4, { precision: 'bf16' }],
    ['in f16, whose loss is scaled', 4, { precision: 'f16' }],
    ['with captured steps', 4, { graph: true }],
    [
      'with captured steps in f16 and accumulation',
      2,
      { graph: true, precision: 'f16', accumulate: 2 },
    ],
    ['with the norm measured', 4, { gradNorm: true }],
    ['that leaves out steps that are not finite', 4, { nonFinite: 'skip' }],
    ['that leaves them out, captured', 4, { nonFinite: 'skip', graph: true }],
    ['with fewer elements than ranks', 4, { task: taskFile('tiny'), clipNorm: 1e6 }],
    [
      'with captured steps and fewer elements than ranks',
      8,
      { task: taskFile('tiny'), graph: true },
    ],
  ])('%s', async (_, ranks, options) => {
    const { whole, cut } = await bothWays(ranks, options)
    expect(cut.hash).toBe(whole.hash)
    expect(cut.losses).toEqual(whole.losses)
    expect(cut.metrics).toEqual(whole.metrics)
    if (options.graph) expect(cut.notes.join()).toContain('replaying it')
  })

  it('with momentum of SGD', async () => {
    process.env.WEFT_TEST_RESUME = 'sgd'
    for (const options of [{}, { graph: true }]) {
      const { whole, cut } = await bothWays(4, options)
      expect(cut.hash).toBe(whole.hash)
      expect(cut.memory[1]!.optimizerBytes).toBeLessThan(whole.memory[1]!.optimizerBytes / 3)
    }
  })
})

describe('what all shares decide together', () => {
  it('gradients are clipped by the norm over all shares', async () => {
    const { whole, cut } = await bothWays(4, { clipNorm: 0.05 })
    const free = await fit(4)
    for (const [i, loss] of cut.losses.entries()) expect(loss).toBeCloseTo(whole.losses[i]!, 5)
    expect(Math.abs(cut.loss - free.loss)).toBeGreaterThan(1e-3)
  })

  it('a step is left out everywhere where one share overflows', async () => {
    // The model lies on rank 0 alone: the others hear of the overflow from it.
    const task = taskFile('overflowing')
    const { whole, cut } = await bothWays(4, { task, precision: 'f16', steps: 6 })
    expect(whole.skippedSteps).toBeGreaterThan(0)
    expect(cut.skippedSteps).toBe(whole.skippedSteps)
    expect(cut.lossScale).toBe(whole.lossScale)
    expect(cut.hash).toBe(whole.hash)
  })

  it('ranks that run out of data together end the epoch together', async () => {
    const ends = { steps: undefined, epochs: 1 } as unknown as Partial<TrainerOptions>
    const { whole, cut } = await bothWays(4, { ...ends, batchSize: 32 })
    expect(cut.steps).toBe(whole.steps)
    expect(cut.hash).toBe(whole.hash)
  })
})

it('leaves frozen parameters out', async () => {
  // Every rank fills them with numbers of its own, which differ from run to run too.
  const task = taskFile('frozen')
  const { replicasEqual, losses, memory } = await fit(4, { task, steps: 200, ...sharded })
  expect(replicasEqual).toBe(true)
  // Batches differ by more than a few steps bring: the first and the last tenth of the run.
  const mean = (some: number[]) => some.reduce((sum, loss) => sum + loss, 0) / some.length
  const tenth = Math.ceil(losses.length / 10)
  expect(mean(losses.slice(-tenth))).toBeLessThan(mean(losses.slice(0, tenth)))
  expect(memory[0]!.gradientBytes).toBeLessThan(memory[0]!.parameterBytes / 20)
})

describe('memory', () => {
  it('of gradients and state on a rank is its share', async () => {
    const { whole, cut } = await bothWays(4)
    for (const [rank, all] of whole.memory.entries()) {
      const own = cut.memory[rank]!
      expect(own.device).toBe(all.device)
      expect(own.parameterBytes).toBe(all.parameterBytes)
      expect(all.optimizerBytes).toBe(2 * all.gradientBytes)
      expect(own.gradientBytes).toBeGreaterThanOrEqual(all.gradientBytes / 4)
      expect(own.gradientBytes).toBeLessThan(all.gradientBytes / 4 + 2048)
      expect(own.optimizerBytes).toBeLessThanOrEqual(2 * own.gradientBytes)
    }
    const sum = (of: typeof cut) => of.memory.reduce((bytes, m) => bytes + m.optimizerBytes, 0)
    expect(sum(cut)).toBe(sum(whole) / 4)
  })
})

describe('a mesh of two dimensions', () => {
  it('averages over all ranks and cuts over one of them', async () => {
    const whole = await fit(4)
    const cut = await fit(4, { mesh: { replicate: 2, shard: 2 }, clipNorm: 1e6 })
    expect(cut.replicasEqual).toBe(true)
    expect(cut.losses).toHaveLength(STEPS)
    for (const [i, loss] of cut.losses.entries()) expect(loss).toBeCloseTo(whole.losses[i]!, 5)
    expect(cut.memory[0]!.gradientBytes).toBeLessThan(whole.memory[0]!.gradientBytes / 2 + 2048)
  })

  it.each<[string, number, Partial<TrainerOptions>]>([
    ['two by two', 4, { mesh: { replicate: 2, shard: 2 } }],
    ['in buckets smaller than a parameter', 4, { mesh: { shard: 2 }, bucketMegabytes: 0.001 }],
    ['two sets of four, clipped', 8, { mesh: { replicate: 2, shard: 4 }, clipNorm: 0.05 }],
    [
      'four sets of two, in f16, accumulated',
      8,
      { mesh: { shard: 2 }, precision: 'f16', accumulate: 2 },
    ],
  ])('has the bits of called steps where they are captured: %s', async (_, ranks, options) => {
    const called = await fit(ranks, options)
    const captured = await fit(ranks, { ...options, graph: true })
    expect(captured.notes.join()).toContain('replaying it')
    expect(captured.hash).toBe(called.hash)
    expect(captured.losses).toEqual(called.losses)
    expect(captured.replicasEqual).toBe(true)
  })

  it('has the bits of a plain run where nothing is cut', async () => {
    expect((await fit(4, { mesh: { shard: 1 } })).hash).toBe((await fit(4)).hash)
  })
})

describe('what cannot be', () => {
  it.each<[string, Partial<TrainerOptions>, RegExp]>([
    ['a mesh of another size', { mesh: { replicate: 3, shard: 2 } }, /3 × shard 2 does not make 4/],
    ['a shard that does not divide', { mesh: { shard: 3 } }, /does not make 4 devices/],
  ])('%s', async (_, options, pattern) => {
    const failing = fit(4, options)
    await expect(failing).rejects.toThrow(UsageError)
    await expect(failing).rejects.toThrow(pattern)
  })

  it('an optimizer whose state cannot be cut', async () => {
    process.env.WEFT_TEST_RESUME = 'stateless'
    await expect(fit(4, sharded)).rejects.toThrow(/needs an optimizer of optim, adamw or sgd/)
  })
})
