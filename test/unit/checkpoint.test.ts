// Checkpoints on disk: a manifest that changed in any byte is no manifest, and what is kept and found.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  bestCheckpoint,
  checkpointName,
  newestCheckpoint,
  openCheckpoint,
  pruneCheckpoints,
} from '../../src/checkpoint/checkpoint-folder.js'
import { duplicateName } from '../../src/checkpoint/duplicate-names.js'
import { MANIFEST, OPTIMIZER, parseManifest, WEIGHTS } from '../../src/checkpoint/manifest.js'
import { CheckpointError } from '../../src/native/errors.js'
import { dataPosition } from '../../src/train/restoring.js'
import { writeCheckpoint } from '../soak/checkpoint-sample.js'
import { soakFiles } from '../soak/files.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-checkpoint-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const at = (step: number, file = '') => join(folder, checkpointName(step), file)
const steps = () => readdirSync(folder).map((name) => Number(name.slice('step-'.length)))

describe('a checkpoint', () => {
  it('comes back as it was written', async () => {
    const manifest = await writeCheckpoint(folder, 7)
    expect((await openCheckpoint(at(7))).manifest).toEqual(manifest)
  })

  it('with any bit of its manifest changed is damaged, or the same', async () => {
    const manifest = await writeCheckpoint(folder, 7)
    const bytes = readFileSync(at(7, MANIFEST))
    for (let byte = 0; byte < bytes.byteLength; byte++) {
      const changed = Buffer.from(bytes)
      changed[byte]! ^= 1 << (byte % 8)
      try {
        expect(parseManifest(changed, 'it')).toEqual(manifest)
      } catch (error) {
        expect(error).toBeInstanceOf(CheckpointError)
      }
    }
  })

  it.each([WEIGHTS, OPTIMIZER])(
    'with a changed, shorter, longer or missing %s is damaged',
    async (file) => {
      await writeCheckpoint(folder, 7)
      const bytes = readFileSync(at(7, file))
      const changed = Buffer.from(bytes)
      changed[bytes.byteLength - 1]! ^= 1
      for (const bad of [changed, bytes.subarray(1), Buffer.concat([bytes, Buffer.of(0)])]) {
        writeFileSync(at(7, file), bad)
        await expect(openCheckpoint(at(7))).rejects.toThrow(CheckpointError)
      }
      rmSync(at(7, file))
      await expect(openCheckpoint(at(7))).rejects.toThrow(/missing/)
      writeFileSync(at(7, file), bytes)
      await openCheckpoint(at(7))
    },
  )

  it.each<[string, object]>([
    ['a field too many', { more: 1 }],
    ['a negative step', { step: -1 }],
    ['a step that is text', { step: '7' }],
    ['no rank', { random: [] }],
    ['a random state that is no number', { random: [{ seed: '-1', offset: '0' }] }],
    ['another format', { format: 'other' }],
    ['a later version', { version: 2 }],
  ])('with a right checksum but %s is refused', async (_name, part) => {
    await writeCheckpoint(folder, 7, part)
    await expect(openCheckpoint(at(7))).rejects.toThrow(/is damaged/)
  })
})

describe('the newest', () => {
  it('is the newest whole one, whatever lies beside', async () => {
    expect(await newestCheckpoint(join(folder, 'none'))).toEqual({
      checkpoint: undefined,
      ignored: [],
    })
    for (const step of [5, 100_000_000, 20]) await writeCheckpoint(folder, step)
    writeFileSync(join(folder, 'best.json'), '{}')
    mkdirSync(join(folder, 'step-5'))
    mkdirSync(at(200_000_000))
    const { checkpoint, ignored } = await newestCheckpoint(folder)
    expect(checkpoint!.manifest.step).toBe(100_000_000)
    expect(ignored).toEqual([expect.stringContaining(checkpointName(200_000_000))])
  })
})

describe('pruning', () => {
  it('keeps the newest and the best; torn ones count for none and go with the old', async () => {
    for (const step of [10, 20, 30, 40, 50]) await writeCheckpoint(folder, step)
    for (const step of [15, 45, 60]) mkdirSync(at(step))
    await pruneCheckpoints(folder, { keep: 2, best: 20, upTo: 60 })
    expect(steps().sort((a, b) => a - b)).toEqual([20, 40, 45, 50, 60])
  })

  it('leaves the newest of a run that went on from before damaged ones', async () => {
    for (const step of [10, 20, 30, 12]) await writeCheckpoint(folder, step)
    // 20 and 30 were damaged: the run goes on from 10 and has just written 12.
    await pruneCheckpoints(folder, { keep: 1, best: undefined, upTo: 12 })
    expect(steps().sort((a, b) => a - b)).toEqual([12, 20, 30])
  })

  it('finds the best by a metric again', async () => {
    const values = [0.5, 0.2, 0.9, 0.2]
    for (const [i, error] of values.entries()) {
      await writeCheckpoint(folder, i + 1, { metrics: { error } })
    }
    await writeCheckpoint(folder, 9)
    const less = (value: number, than: number) => value < than
    expect(await bestCheckpoint(folder, less, 'error', 9)).toEqual({ step: 2, value: 0.2 })
    expect(await bestCheckpoint(folder, less, 'accuracy', 9)).toBeUndefined()
    cpSync(at(1), at(8), { recursive: true })
    rmSync(at(2, MANIFEST))
    expect(await bestCheckpoint(folder, less, 'error', 3)).toEqual({ step: 1, value: 0.5 })
    expect(await bestCheckpoint(folder, less, 'error', 9)).toEqual({ step: 4, value: 0.2 })
  })
})

describe('the place in the data', () => {
  const settings = { batchSize: 16, accumulate: 1, bucketMegabytes: 25, totalSteps: null }
  const manifest = async (data: object) => writeCheckpoint(folder, 1, { data, settings, world: 4 })

  it('is behind the last batch, or at the next epoch', async () => {
    const inside = await manifest({ epoch: 3, batches: 10, ended: false })
    expect(dataPosition(inside, settings, 4)).toEqual({ epoch: 3, batches: 10 })
    const ended = await manifest({ epoch: 3, batches: 15, ended: true })
    expect(dataPosition(ended, settings, 4)).toEqual({ epoch: 4, batches: 0 })
  })

  it('counts samples where batches or devices are others, and leaves none out', async () => {
    const inside = await manifest({ epoch: 0, batches: 10, ended: false }) // 640 samples
    expect(dataPosition(inside, settings, 2).batches).toBe(20)
    expect(dataPosition(inside, settings, 3).batches).toBe(13)
    expect(dataPosition(inside, { batchSize: 64 }, 4).batches).toBe(2)
  })
})

it('names that stand twice in an object are found, in any nesting and escaping', () => {
  expect(duplicateName('{"a":{"b":1},"b":{"a":"a","c":["a","a"]}}')).toBeUndefined()
  expect(duplicateName('{"a":[{"x":1},{"x":2,"y":{"x":3}}]}')).toBeUndefined()
  expect(duplicateName('{"a":[{"x":1, "x" :2}]}')).toBe('x')
  expect(duplicateName('{"\\u0061":1,"a":2}')).toBe('a')
  expect(duplicateName('{"a\\"":1,"b":"\\\\","a\\"":2}')).toBe('a"')
  expect(duplicateName('{"__proto__":1,"__proto__":2}')).toBe('__proto__')
})

it('of 5,000 damaged files none is loaded wrongly, hangs or throws another error', async () => {
  const lines: string[] = []
  await soakFiles({ count: 5_000, seed: 1, print: (line) => lines.push(line) })
  expect(lines.slice(0, -1)).toEqual([])
  const { refused, loaded, same, failed } = JSON.parse(lines.at(-1)!)
  expect([refused > 4_000, loaded > 100, same > 0, failed]).toEqual([true, true, true, 0])
})
