// Tensors to files and back, as users do it: by range, whole or not at all, and into modules by name.
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  arange,
  CheckpointError,
  type DType,
  disposeAll,
  memory,
  nn,
  ones,
  safetensors,
  setDefaultDevice,
  tensor,
  UsageError,
  zeros,
} from 'weft'
import { safetensorsHead } from '../../../src/checkpoint/safetensors.js'
import { device, elsewhere, several } from '../device.js'

setDefaultDevice(device)

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-tensors-'))
})
afterEach(() => rmSync(folder, { recursive: true }))
const at = (name: string) => join(folder, name)

const dtypes: DType[] = ['f32', 'f64', 'f16', 'bf16', 'i64', 'i32', 'u8', 'bool']

test('every dtype comes back bit for bit, also of a view that is not contiguous', async () => {
  const made = Object.fromEntries(
    dtypes.map((dtype) => [`x.${dtype}`, arange(6).to(dtype).reshape([2, 3]).transpose(0, 1)]),
  )
  made.empty = zeros([0, 3])
  made.scalar = tensor(7)
  await safetensors.save(at('all.safetensors'), made, { by: 'test' })
  const read = await safetensors.load(pathToFileURL(at('all.safetensors')))
  expect(Object.keys(read).sort()).toEqual(Object.keys(made).sort())
  for (const [name, value] of Object.entries(made)) {
    expect([name, read[name]!.dtype, read[name]!.shape]).toEqual([name, value.dtype, value.shape])
    expect(Buffer.from(await read[name]!.bytes())).toEqual(Buffer.from(await value.bytes()))
    expect(read[name]!.device).toBe(device)
  }
  const { tensors, metadata } = await safetensors.header(at('all.safetensors'))
  expect(metadata).toEqual({ by: 'test' })
  expect(tensors['x.bf16']).toEqual({ dtype: 'bf16', shape: [3, 2] })
  disposeAll([...Object.values(made), ...Object.values(read)])
})

test('only what is named is read: 64 bytes of a file of 40 GB', async () => {
  const large = at('large.safetensors')
  const specs = [
    ['huge', { dtype: 'f32', shape: [10_000_000_000] }],
    ['small', { dtype: 'f32', shape: [16] }],
  ] as const
  const head = safetensorsHead(specs)
  writeFileSync(large, head)
  truncateSync(large, head.byteLength + 40_000_000_064)
  const { small } = await safetensors.load(large, { names: ['small'] })
  expect(await small!.sum().item()).toBe(0)
  expect(Object.keys((await safetensors.header(large)).tensors)).toEqual(['huge', 'small'])
})

test('what cannot be loaded is a CheckpointError and leaves nothing on the device', async () => {
  await safetensors.save(at('w.safetensors'), { w: ones([4]), v: ones([2]) })
  const before = memory()[device]!.tensors
  const missing = safetensors.load(at('w.safetensors'), { names: ['w', 'x', 'y'] })
  await expect(missing).rejects.toThrow(CheckpointError)
  await expect(missing).rejects.toMatchObject({ fields: { missing: ['x', 'y'] } })
  await expect(safetensors.load(at('none.safetensors'))).rejects.toThrow(/no such file/)
  await expect(safetensors.load(folder)).rejects.toThrow(CheckpointError)
  truncateSync(at('w.safetensors'), 100)
  await expect(safetensors.load(at('w.safetensors'))).rejects.toThrow(/w\.safetensors: damaged/)
  const nine = safetensorsHead([['deep', { dtype: 'u8', shape: Array(9).fill(1) }]])
  writeFileSync(at('nine.safetensors'), Buffer.concat([nine, Buffer.alloc(1)]))
  await expect(safetensors.load(at('nine.safetensors'))).rejects.toThrow(/9 dimensions/)
  expect(memory()[device]!.tensors).toBe(before)
})

test('save refuses what is no tensor or no text, and keeps the file that is there', async () => {
  const path = at('w.safetensors')
  await safetensors.save(path, { w: ones([4]) })
  await expect(safetensors.save(path, { w: [1] as never })).rejects.toThrow(UsageError)
  await expect(safetensors.save(path, {}, { step: 3 as never })).rejects.toThrow(/step/)
  await expect(safetensors.save('', {})).rejects.toThrow(UsageError)
  const gone = ones([4])
  gone.dispose()
  await expect(safetensors.save(path, { a: ones([1]), gone })).rejects.toThrow(/disposed/)
  expect(Object.keys(await safetensors.load(path))).toEqual(['w'])
  expect(readdirSync(folder)).toEqual(['w.safetensors'])
})

test('a module takes matching names, and tells what was missing or unexpected', async () => {
  const model = new nn.Linear(2, 2)
  await safetensors.save(at('m.safetensors'), { weight: ones([2, 2]), 'lm_head.weight': ones([1]) })
  const state = await safetensors.load(at('m.safetensors'))
  expect(() => model.loadStateDict(state)).toThrow(/missing bias; unexpected lm_head\.weight/)
  expect(model.loadStateDict(state, { strict: false })).toEqual({
    missing: ['bias'],
    unexpected: ['lm_head.weight'],
  })
  expect(await model.weight.toArray()).toEqual([
    [1, 1],
    [1, 1],
  ])
})

test('a model in several files is read by its index, which may name only files beside it', async () => {
  await safetensors.save(at('model-00001-of-00002.safetensors'), { a: ones([2]), other: ones([1]) })
  await safetensors.save(at('model-00002-of-00002.safetensors'), { b: zeros([3]) })
  const index = at('model.safetensors.index.json')
  const map = {
    a: 'model-00001-of-00002.safetensors',
    b: 'model-00002-of-00002.safetensors',
  }
  writeFileSync(index, JSON.stringify({ metadata: {}, weight_map: map }))
  const read = await safetensors.load(index)
  expect([read.a!.shape, read.b!.shape, Object.keys(read).length]).toEqual([[2], [3], 2])
  await expect(safetensors.load(index, { names: ['c'] })).rejects.toThrow(/no tensor c/)
  for (const bad of ['{', '{}', '{"weight_map":{"a":"../a.safetensors"}}', '{"weight_map":[]}']) {
    writeFileSync(index, bad)
    await expect(safetensors.load(index)).rejects.toThrow(CheckpointError)
  }
})

test('tensors are made where they are asked for', async () => {
  const { openFabric } = await import('weft')
  await openFabric(several(2))
  await safetensors.save(at('w.safetensors'), { w: ones([4]) })
  const { w } = await safetensors.load(at('w.safetensors'), { device: elsewhere })
  expect(w!.device).toBe(elsewhere)
  await expect(safetensors.load(at('w.safetensors'), { device: 'nowhere' })).rejects.toThrow(
    /nowhere/,
  )
})
