// Long and often: 10,000 steps without growth, and many rounds of workers that leave nothing behind.
import type { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { memory, openFabric, Trainer } from 'weft'
import { several } from '../device.js'

const task = new URL('../tasks/regression.mjs', import.meta.url)

interface Sample {
  step: number
  handles: number
  tensors: number[]
  bytes: number[]
  reserved: number[]
  rss: number
}

describe('10,000 steps of a small task', () => {
  it('keep tensors, allocator bytes and resident memory flat after the first 200', async () => {
    const fabric = await openFabric(several(2))
    const names = fabric.devices.map((device) => device.name)
    const samples: Sample[] = []
    const result = await new Trainer({
      task,
      ...several(2),
      steps: 10_000,
      batchSize: 4,
      logEvery: 200,
      run: false,
      onEvent: (event) => {
        if (event.kind !== 'log') return
        const devices = memory()
        samples.push({
          step: event.step,
          handles: fabric.stats().liveHandles,
          tensors: names.map((name) => devices[name]!.tensors),
          bytes: names.map((name) => devices[name]!.bytes),
          reserved: names.map((name) => devices[name]!.reservedBytes),
          rss: process.memoryUsage.rss(),
        })
      },
    }).fit()
    expect(result.steps).toBe(10_000)
    expect(result.replicasEqual).toBe(true)
    const [first, ...rest] = samples
    expect(first!.step).toBe(200)
    expect(rest).toHaveLength(49)
    for (const sample of rest) {
      expect(sample.handles).toBe(first!.handles)
      expect(sample.tensors).toEqual(first!.tensors)
      expect(sample.bytes).toEqual(first!.bytes)
      expect(sample.reserved).toEqual(first!.reserved)
    }
    // JavaScript's heap breathes: the last fifth against the fifth after the warm-up.
    const mean = (part: Sample[]) => part.reduce((sum, { rss }) => sum + rss, 0) / part.length
    const growth = mean(rest.slice(-10)) - mean(rest.slice(4, 14))
    expect(growth).toBeLessThan(16 * 2 ** 20)
  }, 120_000)
})

describe('20 rounds of 8 workers', () => {
  it('leave no thread, tensor or byte behind', async () => {
    const workers: Worker[] = []
    const note = (worker: Worker) => workers.push(worker)
    process.on('worker', note)
    const fabric = await openFabric(several(8))
    const state = () => {
      const devices = memory()
      return {
        handles: fabric.stats().liveHandles,
        devices: fabric.devices.map(({ name }) => {
          const { tensors, bytes, allocatedBytes } = devices[name]!
          return { tensors, bytes, allocatedBytes }
        }),
      }
    }
    try {
      const before = state()
      const hashes = new Set<string>()
      const rss: number[] = []
      for (let round = 0; round < 20; round++) {
        const { hash } = await new Trainer({
          task,
          ...several(8),
          steps: 3,
          batchSize: 2,
          run: false,
        }).fit()
        hashes.add(hash)
        expect(state()).toEqual(before)
        rss.push(process.memoryUsage.rss())
      }
      expect(hashes.size).toBe(1)
      expect(workers).toHaveLength(160)
      expect(workers.every((worker) => worker.threadId === -1)).toBe(true)
      expect(rss.at(-1)! - rss[9]!).toBeLessThan(64 * 2 ** 20)
    } finally {
      process.off('worker', note)
    }
  }, 120_000)
})
