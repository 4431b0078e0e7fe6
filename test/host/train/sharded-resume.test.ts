// Checkpoints of runs whose gradients and optimizer state are cut over ranks: whole files, from which a run goes on cut
// or not, on any number of ranks; and what happens when a rank dies or is late.
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { TrainerOptions } from 'weft'
import { faults } from 'weft/testing'
import { hostOnly, several } from '../device.js'
import { resumableRuns } from './resumable-runs.js'

const { run, checkpoints, trainer, whole, until, resume, killing } = resumableRuns()
const mesh = { shard: 'all' } as const
const none = { shard: 1 } as const

afterEach(() => faults.clear())

const file = (name: string) => readFileSync(join(checkpoints(), 'step-00000017', name))

describe('the checkpoint of a sharded run', () => {
  it.each<[string, Partial<TrainerOptions>]>([
    ['in f32', {}],
    ['in f16, with the state of the loss scale', { precision: 'f16' }],
    ['in captured steps', { graph: true }],
  ])('has the bytes of that of a whole one, %s', async (_, options) => {
    await until(17, options)
    const [weights, state] = [file('weights.safetensors'), file('optimizer.safetensors')]
    const { optimizer, gradientOrder } = JSON.parse(String(file('checkpoint.json')))
    await until(17, { ...options, mesh, resume: false })
    expect(file('weights.safetensors').equals(weights)).toBe(true)
    expect(file('optimizer.safetensors').equals(state)).toBe(true)
    expect(JSON.parse(String(file('checkpoint.json')))).toMatchObject({ optimizer, gradientOrder })
  })

  it.each<[string, Partial<TrainerOptions>, Partial<TrainerOptions>]>([
    ['cut, goes on cut', { mesh }, {}],
    ['cut, goes on whole', { mesh }, { mesh: none }],
    ['whole, goes on cut', {}, { mesh }],
    ['cut, goes on cut and captured', { mesh, graph: true }, {}],
    ['cut in f16, goes on', { mesh, precision: 'f16' }, {}],
  ])('%s: the bits of a run without an interruption', async (_, before, after) => {
    const { precision } = before
    const expected = await whole(precision === undefined ? {} : { precision })
    await until(17, before)
    const result = await resume(after)
    expect(result.hash).toBe(expected.hash)
    expect(result.losses).toEqual(expected.losses.slice(17))
    const shares = result.memory[0]!.shards
    expect(shares).toBe(after.mesh === none ? 1 : 4)
  })

  it('is taken again and again: a second one behind a resume is whole too', async () => {
    const expected = await whole()
    await until(9, { mesh })
    await until(25, { mesh, resume: true })
    const result = await resume({ mesh: none })
    expect(result.hash).toBe(expected.hash)
  })

  it.each([
    ['two', 2],
    ['one', 1],
  ])('goes on on %s ranks, as a whole one does', async (_, ranks) => {
    await until(17)
    const fromWhole = await resume({ ...several(ranks) })
    rmSync(run(), { recursive: true })
    await until(17, { mesh })
    const fromCut = await resume({ ...several(ranks), mesh })
    expect(fromCut.hash).toBe(fromWhole.hash)
    expect(fromCut.notes.join()).toMatch(/devices 4 → /)
  })

  it('of one rank goes on cut over four', async () => {
    await until(17, several(1))
    const fromWhole = await resume(several(4))
    rmSync(run(), { recursive: true })
    await until(17, several(1))
    const fromCut = await resume({ ...several(4), mesh })
    expect(fromCut.losses[0]).toBe(fromWhole.losses[0])
    for (const [i, loss] of fromCut.losses.entries()) {
      expect(loss).toBeCloseTo(fromWhole.losses[i]!, 4)
    }
  })
})

describe('what goes wrong in a sharded step', () => {
  it.each<[string, TrainerOptions['mesh']]>([
    ['over all ranks', mesh],
    ['over two of four', { shard: 2 }],
  ])(
    'a worker that dies: the run goes on from its checkpoint with the same bits, %s',
    async (_, cut) => {
      const many = { steps: 150, mesh: cut }
      const expected = await whole(many)
      const { run, restarts } = killing(2, 'checkpoint', { ...many, restarts: 1 })
      const result = await run.fit()
      expect(restarts).toEqual([expect.stringMatching(/worker of rank \d/)])
      expect(result).toMatchObject({ steps: 150, hash: expected.hash, replicasEqual: true })
    },
  )

  hostOnly('its faults')('a slow device changes no bit', async () => {
    const expected = await whole({ steps: 10 })
    faults.setDeviceDelay(1, 200)
    const result = await trainer({ steps: 10, run: false, mesh }).fit()
    expect(result.hash).toBe(expected.hash)
  })
})
