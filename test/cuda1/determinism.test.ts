// Bits that do not depend on what was measured, on a GPU: the same program with different files of measured
// choices, captured and eager, alone and with the choices of another run. Each run is a process of its own.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { GemmChoices } from 'weft'

const device = process.env.WEFT_TEST_DEVICE ?? 'cuda:0'
const program = fileURLToPath(new URL('./determinism-program.mjs', import.meta.url))
const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const task = fileURLToPath(new URL('../../examples/multigpu/digits-vit.ts', import.meta.url))
const entry = new URL('../../dist/index.js', import.meta.url).href

interface Report {
  deterministic: boolean
  snapshot: boolean
  hash: string
  capturedAlike: boolean
  choices: GemmChoices
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-determinism-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function node(args: string[], env: Record<string, string> = {}) {
  const inherited = { ...process.env }
  for (const name of ['WEFT_DETERMINISTIC', 'WEFT_GEMM_CHOICES', 'WEFT_GEMM_TUNE'])
    delete inherited[name]
  return spawnSync(process.execPath, args, {
    encoding: 'utf8',
    env: { ...inherited, ...env },
    timeout: 100_000,
  })
}

function run(cache: string, options: object, env: Record<string, string> = {}): Report {
  const ended = node([program, device, JSON.stringify(options)], { WEFT_CACHE: cache, ...env })
  expect(ended.stderr).toBe('')
  return JSON.parse(ended.stdout)
}

/** A new folder for measured choices, empty. */
function emptyCache(name: string): string {
  const path = join(folder, name)
  mkdirSync(path)
  return path
}

const kernels = ({ choices }: Report) => choices.gpus.map((gpu) => gpu.choices)

/** Copies a machine's file with every split taken out; how many there were. */
function forge(from: string, to: string): number {
  let changed = 0
  for (const file of readdirSync(from)) {
    const text = readFileSync(join(from, file), 'utf8')
    const forged = text.replaceAll(/"splits":(?!1,)\d+/g, () => {
      changed++
      return '"splits":1'
    })
    writeFileSync(join(to, file), forged)
  }
  return changed
}

describe('deterministic: true', () => {
  it('gives the same bits with an empty, a measured and a forged file of choices', () => {
    const measured = emptyCache('measured')
    const before = run(measured, {})
    expect(before).toMatchObject({ deterministic: false, snapshot: false })
    expect(readdirSync(measured)).toHaveLength(1)

    const empty = emptyCache('empty')
    const forged = emptyCache('forged')
    expect(forge(measured, forged)).toBeGreaterThan(0)
    const runs = [empty, measured, forged].map((cache) => run(cache, { deterministic: true }))
    for (const each of runs) expect(each).toMatchObject({ deterministic: true, snapshot: true })
    expect(new Set(runs.map((each) => each.hash)).size).toBe(1)
    expect(readdirSync(empty)).toEqual([])
    const byEnvironment = run(emptyCache('environment'), {}, { WEFT_DETERMINISTIC: '1' })
    expect(byEnvironment).toMatchObject({ deterministic: true, hash: runs[0]!.hash })
  })

  it('gives captured steps the bits of eager ones', () => {
    expect(run(emptyCache('captured'), { deterministic: true }).capturedAlike).toBe(true)
  })

  it('is a UsageError once a GPU was opened without it', () => {
    const late = `const { openFabric, zeros } = await import('${entry}')
      zeros([2], { device: '${device}' })
      await openFabric({ devices: ['${device}'], deterministic: true }).catch((e) => console.log(e.name, e.message))
      console.log((await openFabric({ devices: ['${device}'] })).deterministic)`
    const { stdout } = node(['--input-type=module', '-e', late])
    expect(stdout).toMatch(/^UsageError .*opened a GPU without it.*\nfalse\n$/)
  })
})

describe('choices given back', () => {
  it('give the bits of the run that made them, whatever this machine measured', () => {
    const first = run(emptyCache('first'), {})
    expect(first.capturedAlike).toBe(true)
    const file = join(folder, 'choices.json')
    writeFileSync(file, JSON.stringify(first.choices))
    const cache = emptyCache('second')
    for (const again of [
      run(cache, { gemmChoices: file }),
      run(cache, {}, { WEFT_GEMM_CHOICES: file }),
    ]) {
      expect(again).toMatchObject({ deterministic: true, hash: first.hash, capturedAlike: true })
      expect(kernels(again)).toEqual(kernels(first))
    }
    expect(readdirSync(cache)).toEqual([])
  })

  it('decide about bits: others in the file give other ones', () => {
    const cache = emptyCache('other')
    const first = run(cache, {})
    const changed = structuredClone(first.choices)
    const deep = changed.gpus[0]!.choices.find((each) => each.k >= 8192 && each.splits !== 1)
    expect(deep, 'a deep product that splits').toBeDefined()
    deep!.splits = 1
    const file = join(folder, 'changed.json')
    writeFileSync(file, JSON.stringify(changed))
    const other = run(cache, { gemmChoices: file })
    expect(other.hash).not.toBe(first.hash)
    expect(kernels(other)).toEqual(changed.gpus.map((gpu) => gpu.choices))
  })

  it.each([
    ['a kernel of no build', { kernel: 'sm90_none' }, /CheckpointError.*no such kernel/],
    ['a split that no kernel offers', { splits: 3 }, /CheckpointError.*never multiplies/],
  ])('are refused whole with %s', (_, change, pattern) => {
    const { choices } = run(join(folder, 'measured'), {})
    Object.assign(choices.gpus[0]!.choices.at(-1)!, change)
    const file = join(folder, 'refused.json')
    writeFileSync(file, JSON.stringify(choices))
    const ended = node([program, device, JSON.stringify({ gemmChoices: file })])
    expect(ended.status).not.toBe(0)
    expect(ended.stderr).toMatch(pattern)
  })

  it('come from a run folder and go back through weft train', () => {
    const flags = ['train', task, '--devices', device, '--steps=12', '--json', '--seed=3']
    const train = (name: string, more: string[] = []) => {
      const runs = [`--runs-folder=${folder}`, `--run=${name}`]
      const ended = node([command, ...flags, ...runs, ...more], {
        WEFT_CACHE: emptyCache(`c-${name}`),
      })
      expect(ended.status, ended.stderr).toBe(0)
      const weights = readFileSync(join(folder, name, 'weights.safetensors'))
      return createHash('sha256').update(weights).digest('hex')
    }
    const first = train('train-first')
    const file = join(folder, 'train-first', 'gemm-choices.json')
    expect(existsSync(file)).toBe(true)
    expect(train('train-again', [`--gemm-choices=${file}`])).toBe(first)
    const fixed = train('train-fixed', ['--deterministic'])
    expect(train('train-fixed-graph', ['--deterministic', '--graph'])).toBe(fixed)
    const config = readFileSync(join(folder, 'train-fixed', 'config.json'), 'utf8')
    expect(JSON.parse(config)).toMatchObject({ deterministic: true })
  })
})
