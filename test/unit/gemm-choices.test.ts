// The file of GEMM choices: what it says comes back, and what is refused of files that were changed, are of
// another weft or of another GPU. And when a run writes it.
import { describe, expect, it } from 'vitest'
import { choicesForGpus, gemmChoicesOf, parseGemmChoices } from '../../src/fabric/gemm-choices.js'
import { CheckpointError, DeviceError } from '../../src/native/errors.js'
import { ChoiceKeeper } from '../../src/train/choice-keeper.js'

const facts = { weft: '0.1.0', menu: 2 }
const h200 = { model: 'NVIDIA H200', multiprocessors: 132 }
const h100 = { model: 'NVIDIA H100 80GB HBM3', multiprocessors: 132 }
const choice = {
  ...{ kernel: 'sm90_bf16_64x128_kk', m: 128, n: 128, k: 8192, batch: 1 },
  ...{ splits: 4, swizzle: 1 },
}
const file = (gpus = [{ ...h200, choices: [choice] }]) => gemmChoicesOf(gpus, facts)
const parse = (value: unknown) => parseGemmChoices(JSON.stringify(value), 'f.json', facts)

describe('parseGemmChoices', () => {
  it('gives back what was written', () => {
    expect(parse(file())).toEqual(file())
    const empty = file([{ ...h200, choices: [] }])
    expect(parse(empty)).toEqual(empty)
  })

  it.each([
    ['', /not JSON/],
    ['{"format":', /not JSON/],
    ['null', /format/],
    ['[]', /format/],
    ['{}', /format/],
    ['7', /format/],
  ])('refuses the text %j', (text, pattern) => {
    expect(() => parseGemmChoices(text, 'f.json', facts)).toThrow(CheckpointError)
    expect(() => parseGemmChoices(text, 'f.json', facts)).toThrow(pattern)
    expect(() => parseGemmChoices(text, 'f.json', facts)).toThrow(/f\.json/)
  })

  it.each([
    [{ version: 2 }, /version is 2, this weft reads 1/],
    [{ version: '1' }, /version/],
    [{ weft: '0.2.0' }, /0\.2\.0.*0\.1\.0/],
    [{ menu: 1 }, /bits would differ/],
    [{ gpus: [] }, /no GPU/],
    [{ gpus: {} }, /no GPU/],
    [{ gpus: [null] }, /gpus\[0\] is no object/],
    [{ gpus: [{ ...h200 }] }, /no list of choices/],
    [{ gpus: [{ ...h200, model: '', choices: [] }] }, /no model/],
    [{ gpus: [{ ...h200, multiprocessors: 1.5, choices: [] }] }, /multiprocessors/],
    [
      {
        gpus: [
          { ...h200, choices: [] },
          { ...h200, choices: [] },
        ],
      },
      /twice/,
    ],
  ])('refuses a file with %j', (change, pattern) => {
    expect(() => parse({ ...file(), ...change })).toThrow(CheckpointError)
    expect(() => parse({ ...file(), ...change })).toThrow(pattern)
  })

  it('refuses more choices than any program has', () => {
    const choices = new Array(100_001).fill(choice)
    expect(() => parse(file([{ ...h200, choices }]))).toThrow(/more than 100000/)
  })

  it.each([
    [{ kernel: 3 }, /no kernel/],
    [{ kernel: 'k'.repeat(64) }, /names no kernel/],
    [{ m: 0 }, /m 0/],
    [{ n: -1 }, /n -1/],
    [{ k: 1.5 }, /k 1\.5/],
    [{ batch: '1' }, /batch "1"/],
    [{ m: 2 ** 31 }, /m 2147483648/],
    [{ splits: -1 }, /splits -1/],
    [{ swizzle: null }, /swizzle null/],
  ])('refuses a choice with %j', (change, pattern) => {
    const changed = file([{ ...h200, choices: [choice, { ...choice, ...change } as never] }])
    expect(() => parse(changed)).toThrow(CheckpointError)
    expect(() => parse(changed)).toThrow(pattern)
    expect(() => parse(changed)).toThrow(/gpus\[0\] choice 2/)
  })
})

describe('choicesForGpus', () => {
  const both = file([
    { ...h200, choices: [choice] },
    { ...h100, choices: [] },
  ])

  it('keeps the models of this machine', () => {
    expect(choicesForGpus(both, 'f', [h200], [h200, h200])).toEqual([both.gpus[0]])
  })

  it.each([
    [[h100], /of NVIDIA H200 with 132 .*this GPU is NVIDIA H100/],
    [[h200, h100], /this GPU is NVIDIA H100/],
    [[{ ...h200, multiprocessors: 114 }], /this GPU is NVIDIA H200 with 114/],
    [[], /no GPU is to be used/],
  ])('refuses GPUs that the choices are not of: %j', (asked, pattern) => {
    expect(() => choicesForGpus(file(), 'f', asked, asked)).toThrow(DeviceError)
    expect(() => choicesForGpus(file(), 'f', asked, asked)).toThrow(pattern)
  })
})

describe('ChoiceKeeper', () => {
  const more = file([{ ...h200, choices: [choice, { ...choice, m: 256 }] }])

  it('writes what is new, in order, and nothing where products had no choice', async () => {
    const written: unknown[] = []
    let used: ReturnType<typeof file> | undefined
    const keeper = new ChoiceKeeper({
      used: () => used,
      write: async (choices) => void written.push(choices),
    })
    keeper.look()
    used = file()
    keeper.look()
    keeper.look()
    used = more
    await keeper.close()
    expect(written).toEqual([file(), more])
    const none = new ChoiceKeeper({ used: () => undefined, write: () => Promise.reject() })
    await none.close()
  })

  it('tells at the end that a file could not be written', async () => {
    const keeper = new ChoiceKeeper({
      used: () => more,
      write: () => Promise.reject(new Error('disk full')),
    })
    keeper.look()
    await expect(keeper.close()).rejects.toThrow('disk full')
  })
})
