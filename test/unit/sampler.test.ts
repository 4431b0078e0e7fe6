import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loader } from '../../dist/data/loader.js'
import { sampleIndices } from '../../dist/data/sampler.js'

const setting = fc.record({
  length: fc.integer({ min: 0, max: 500 }),
  world: fc.integer({ min: 1, max: 9 }),
  seed: fc.nat(),
  epoch: fc.nat({ max: 50 }),
  shuffle: fc.boolean(),
})
const shares = (
  s: { length: number; world: number; seed: number; epoch: number; shuffle: boolean },
  dropLast: boolean,
) => Array.from({ length: s.world }, (_, rank) => [...sampleIndices({ ...s, rank, dropLast })])

describe('sampler', () => {
  test('without dropping, the ranks together see every sample exactly once', () => {
    fc.assert(
      fc.property(setting, (s) => {
        const all = shares(s, false)
          .flat()
          .sort((a, b) => a - b)
        expect(all).toEqual(Array.from({ length: s.length }, (_, i) => i))
      }),
    )
  })

  test('with dropping, every rank gets as many samples and none twice', () => {
    fc.assert(
      fc.property(setting, (s) => {
        const parts = shares(s, true)
        for (const p of parts) expect(p.length).toBe(Math.floor(s.length / s.world))
        expect(new Set(parts.flat()).size).toBe(parts.flat().length)
      }),
    )
  })

  test('the same numbers give the same order, another epoch another one', () => {
    const one = { length: 100, seed: 7, epoch: 3, rank: 1, world: 2, split: 'train' as const }
    expect(sampleIndices(one)).toEqual(sampleIndices(one))
    expect(sampleIndices(one)).not.toEqual(sampleIndices({ ...one, epoch: 4 }))
    expect(sampleIndices(one)).not.toEqual(sampleIndices({ ...one, seed: 8 }))
  })

  test('ranks of any world cut the same permutation', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 6 }), (seed, world) => {
        const split = 'train'
        const whole = [...sampleIndices({ length: 60, seed, split })]
        const woven: number[] = []
        for (let rank = 0; rank < world; rank++) {
          for (const [i, v] of sampleIndices({ length: 60, seed, rank, world, split }).entries()) {
            woven[i * world + rank] = v
          }
        }
        expect(woven).toEqual(whole.slice(0, woven.length))
      }),
    )
  })

  test('a shuffle is fair: each sample comes first about equally often', () => {
    const counts = new Array(5).fill(0)
    for (let seed = 0; seed < 5000; seed++) {
      counts[sampleIndices({ length: 5, seed, shuffle: true })[0]!]++
    }
    for (const c of counts) expect(Math.abs(c - 1000)).toBeLessThan(150)
  })

  test('a rank outside the world is a UsageError', () => {
    expect(() => sampleIndices({ length: 10, rank: 2, world: 2 })).toThrow(/rank 2/)
  })

  test.each(['test', undefined] as const)('split %s: every sample, in order', (split) => {
    const parts = [0, 1, 2].map((rank) => [
      ...sampleIndices({ length: 10, rank, world: 3, ...(split && { split }) }),
    ])
    expect(parts).toEqual([
      [0, 3, 6, 9],
      [1, 4, 7],
      [2, 5, 8],
    ])
  })

  test('split train: shuffled, and every rank gets as many', () => {
    const parts = [0, 1, 2].map((rank) => [
      ...sampleIndices({ length: 100, rank, world: 3, split: 'train' }),
    ])
    expect(parts.map((part) => part.length)).toEqual([33, 33, 33])
    expect(parts[0]).not.toEqual([...parts[0]!].sort((a, b) => a - b))
  })

  test.each([
    [{ length: 2.5 }, /length/],
    [{ length: 2 ** 32 }, /length.*4294967295/],
    [{ length: 4, seed: 0.5 }, /seed/],
    [{ length: 4, seed: -1 }, /seed/],
    [{ length: 4, epoch: Number.NaN }, /epoch/],
    [{ length: 4, split: 'valid' as 'test' }, /split.*train.*test/],
  ])('%j is a UsageError', (options, pattern) => {
    expect(() => sampleIndices(options)).toThrow(pattern)
  })
})

describe('loader', () => {
  test('makes batches ahead and yields them in order', async () => {
    const started: number[] = []
    const batches = loader({
      length: 40,
      batchSize: 8,
      shuffle: false,
      prefetch: 2,
      collate: async (indices, batch) => {
        started.push(batch)
        return [...indices]
      },
    })
    expect(batches.length).toBe(5)
    const seen: number[][] = []
    for await (const b of batches) {
      seen.push(b)
      if (seen.length === 1) expect(started.length).toBeGreaterThanOrEqual(3)
    }
    expect(seen.flat()).toEqual(Array.from({ length: 40 }, (_, i) => i))
  })

  test('test data: every sample once, the last batch short; training data: full batches only', async () => {
    const batchesOf = async (split?: 'train' | 'test') => {
      const seen: number[][] = []
      const options = { length: 10, batchSize: 4, collate: (i: Uint32Array) => [...i] }
      for await (const batch of loader({ ...options, ...(split && { split }) })) seen.push(batch)
      return seen
    }
    const inOrder = [
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]
    expect(await batchesOf('test')).toEqual(inOrder)
    expect(await batchesOf()).toEqual(inOrder)
    expect((await batchesOf('train')).map((batch) => batch.length)).toEqual([4, 4])
  })

  test('begins in the middle with the batches that were left, and makes none before', async () => {
    const made: number[] = []
    const collate = (indices: Uint32Array, batch: number) => {
      made.push(batch)
      return [...indices]
    }
    const options = { length: 50, batchSize: 4, shuffle: true, seed: 3, collate }
    const all: number[][] = []
    for await (const batch of loader(options)) all.push(batch)
    for (const first of [0, 5, all.length - 1, all.length, all.length + 9]) {
      made.length = 0
      const rest: number[][] = []
      for await (const batch of loader(options).startingAt(first)) rest.push(batch)
      expect(rest).toEqual(all.slice(first))
      expect(made).toEqual(Array.from({ length: rest.length }, (_, i) => first + i))
    }
    expect(() => loader(options).startingAt(-1)).toThrow(/whole number/)
  })

  test('collate must be a function', () => {
    expect(() => loader({ length: 4, batchSize: 2 } as never)).toThrow(/collate/)
  })

  test('a failing collate reaches the loop at its batch', async () => {
    const batches = loader({
      length: 10,
      batchSize: 2,
      collate: (_, batch) => {
        if (batch === 2) throw new Error('bad file')
        return batch
      },
    })
    const seen: number[] = []
    await expect(
      (async () => {
        for await (const b of batches) seen.push(b)
      })(),
    ).rejects.toThrow('bad file')
    expect(seen).toEqual([0, 1])
  })

  test('keeps a short last batch only when asked to', () => {
    const make = (dropLastBatch: boolean) =>
      loader({ length: 10, batchSize: 4, collate: (i) => i, dropLastBatch }).length
    expect(make(true)).toBe(2)
    expect(make(false)).toBe(3)
  })
})
