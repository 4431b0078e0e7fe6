// Frozen parameters are part of a run's state: every rank starts with rank 0's, they are compared, and saved.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { nn, ones, type Tensor, type TrainEvent, Trainer, zeros } from 'weft'
import { hashState, parametersOf } from '../../../dist/train/worker/state.js'
import { parseSafetensors } from '../../../src/checkpoint/safetensors.js'
import { device, several } from '../device.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-frozen-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

it('frozen weights and buffers of rank 0 reach every rank, are hashed and written', async () => {
  const events: TrainEvent[] = []
  const result = await new Trainer({
    task: new URL('../tasks/frozen.mjs', import.meta.url),
    ...several(2),
    steps: 4,
    batchSize: 8,
    runsFolder: folder,
    run: 'frozen',
    onEvent: (event) => events.push(event),
  }).fit()
  expect(result).toMatchObject({ steps: 4, replicasEqual: true })
  expect(events[0]).toMatchObject({ kind: 'start', parameterTensors: 5, parameters: 177 })
  const file = readFileSync(join(folder, 'frozen', 'weights.safetensors'))
  const { tensors } = parseSafetensors(file)
  expect(Object.keys(tensors).sort()).toEqual([
    'features.bias',
    'features.weight',
    'last.bias',
    'last.weight',
    'order',
    'scale',
  ])
})

it('the hash tells ranks apart whose frozen weights differ', async () => {
  class Frozen extends nn.Module {
    constructor(readonly table: Tensor) {
      super()
      nn.parameter(table, { requiresGrad: false })
    }
    forward(): void {}
  }
  const hashes = await Promise.all(
    [zeros([2], { device }), ones([2], { device })].map(
      async (table) => (await hashState(parametersOf(new Frozen(table) as never), false)).hash,
    ),
  )
  expect(hashes[0]).not.toBe(hashes[1])
})
