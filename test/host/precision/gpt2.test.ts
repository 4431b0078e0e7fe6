// The GPT-2 example at small sizes: the architecture's parameters, training on files of tokens in f32 and bf16, and
// that the head is the embedding.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { scope, setDefaultDevice, Trainer, type TrainerOptions, tensor, UsageError } from 'weft'
import { sizes } from '../../../examples/multigpu/gpt2.js'
import { Gpt2, gpt2Small } from '../../../examples/multigpu/gpt2-model.js'
import { device, several } from '../device.js'

setDefaultDevice(device)
const folder = mkdtempSync(join(tmpdir(), 'weft-gpt2-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('the smallest GPT-2 has 124 M parameters, of which the head has none', () => {
  const { vocabulary, length, width, layers } = gpt2Small
  const block = 12 * width ** 2 + 13 * width
  const expected = (vocabulary + length) * width + layers * block + 2 * width
  expect(expected).toBe(124_475_904)
  const small = { vocabulary: 8, length: 4, width: 16, heads: 2, layers: 2 }
  const parameters = new Gpt2(small).parameters()
  const count = parameters.reduce((sum, p) => sum + p.numel, 0)
  expect(count).toBe((8 + 4) * 16 + 2 * (12 * 16 ** 2 + 13 * 16) + 2 * 16)
})

test('gradients of the head and of the embedding meet in one weight', async () => {
  const model = new Gpt2({ vocabulary: 8, length: 4, width: 16, heads: 2, layers: 1 })
  const tokens = tensor(Int32Array.of(1, 2, 3, 1), { shape: [1, 4] })
  scope(() => model.loss(tokens, tensor(Int32Array.of(2, 3, 1, 2), { shape: [1, 4] })).backward())
  const rows = await model.tokens.weight.grad!.toArray()
  // Token 5 is neither input nor target; the softmax of the head still moves its row.
  expect((rows as number[][])[5]!.some((value) => value !== 0)).toBe(true)
})

test('it learns a file of tokens, in bf16 as in f32, replicas bit-equal; checkpointed to the same bits', async () => {
  const counted = Uint16Array.from({ length: 32 * 200 + 1 }, (_, i) => (i * 3) % 64)
  for (const name of ['train.bin', 'val.bin']) writeFileSync(join(folder, name), counted)
  process.env['WEFT_TOKENS'] = folder
  process.env['WEFT_GPT2'] = 'layers=2,heads=2,width=32,length=32,vocabulary=64'
  const task = new URL('../../../examples/multigpu/gpt2.ts', import.meta.url)
  const run = (options: Partial<TrainerOptions>) =>
    new Trainer({
      task,
      ...several(2),
      steps: 40,
      batchSize: 4,
      lr: 1e-2,
      run: false,
      ...options,
    }).fit()
  const [plain, mixed] = [await run({ precision: 'f32' }), await run({ precision: 'bf16' })]
  expect(plain.losses[0]!).toBeCloseTo(Math.log(64), 0)
  expect(plain.metrics.loss!).toBeLessThan(2)
  expect(mixed.losses).not.toEqual(plain.losses)
  for (const [i, loss] of plain.losses.entries()) {
    expect(Math.abs(mixed.losses[i]! - loss)).toBeLessThan(0.05)
  }
  expect([plain.replicasEqual, mixed.replicasEqual]).toEqual([true, true])

  process.env['WEFT_GPT2_CHECKPOINT'] = '1'
  for (const graph of [false, true]) {
    const again = await run({ precision: 'bf16', graph })
    expect([again.losses, again.hash]).toEqual([mixed.losses, mixed.hash])
  }
})

test('sizes come from WEFT_GPT2, and what is no size is refused', () => {
  expect(sizes('layers=2,width=64')).toEqual({ ...gpt2Small, layers: 2, width: 64 })
  expect(sizes('')).toEqual(gpt2Small)
  for (const wrong of ['layers', 'layers=0', 'depth=2', 'layers=x']) {
    expect(() => sizes(wrong)).toThrow(UsageError)
  }
})
