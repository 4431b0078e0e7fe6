// `deterministic` and GEMM choices where there are none to make: host devices are deterministic by
// construction. test/cuda1/determinism.test.ts has the promises of GPUs.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { CheckpointError, DeviceError, openFabric, Trainer, UsageError } from 'weft'
import { native } from '../../../dist/native/addon.js'
import { hostOnly, several } from '../device.js'

const folder = mkdtempSync(join(tmpdir(), 'weft-determinism-'))
afterAll(() => rmSync(folder, { recursive: true }))
const task = fileURLToPath(new URL('../tasks/regression.mjs', import.meta.url))
const command = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))
const entry = new URL('../../../dist/index.js', import.meta.url).href
const onHost = hostOnly('GPUs choose kernels')

const choicesFile = (name: string, change: object = {}) => {
  const { menu } = native.gemmFacts()
  const { version: weft } = JSON.parse(
    readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
  )
  const gpus = [{ model: 'NVIDIA H999', multiprocessors: 1, choices: [] }]
  const path = join(folder, name)
  const value = { format: 'weft-gemm-choices', version: 1, weft, menu, gpus, ...change }
  writeFileSync(path, JSON.stringify(value))
  return path
}

onHost('host devices are deterministic, asked or not', async () => {
  for (const deterministic of [undefined, true, false]) {
    const asked = deterministic === undefined ? {} : { deterministic }
    const fabric = await openFabric({ ...several(2), ...asked })
    expect(fabric.deterministic).toBe(true)
    expect(fabric.snapshot().deterministic).toBe(true)
    expect(fabric.gemmChoices()).toBeUndefined()
  }
})

test('wrong options are named', async () => {
  const wrong = (options: object) => expect(openFabric(options)).rejects
  await wrong({ deterministic: 'yes' }).toThrow(UsageError)
  await wrong({ gemmChoices: '' }).toThrow(UsageError)
  await wrong({ gemmChoices: 3 }).toThrow(/gemm-choices\.json/)
  expect(() => new Trainer({ task, deterministic: 1 as never })).toThrow(/deterministic/)
})

test('choices of another GPU model, another weft, or that cannot be read are refused', async () => {
  const given = (gemmChoices: string | URL) =>
    expect(openFabric({ ...several(2), gemmChoices })).rejects
  await given(choicesFile('other.json')).toThrow(DeviceError)
  await given(pathToFileURL(choicesFile('url.json'))).toThrow(/NVIDIA H999/)
  await given(choicesFile('old.json', { weft: '0.0.0' })).toThrow(CheckpointError)
  await given(choicesFile('menu.json', { menu: 0 })).toThrow(/bits would differ/)
  await given(join(folder, 'missing.json')).toThrow(CheckpointError)
  await given(folder).toThrow(CheckpointError)
  expect(native.gemmPolicy()).toBe('measured')
})

onHost('native code refuses rows that are none, and keeps its policy', () => {
  const give = native.giveGemmChoices as (gpus: unknown) => void
  for (const rows of [undefined, {}, [3], [[]], [['m', 1, [[]]]], [['m', Number.NaN, []]]]) {
    expect(() => give(rows)).toThrow(UsageError)
  }
  expect(() => give([['NVIDIA H999', 1, []]])).toThrow(DeviceError)
  expect(native.gemmPolicy()).toBe('measured')
})

onHost('a run says that it is deterministic and has no choices to write', async () => {
  const trainer = new Trainer({
    ...several(2),
    ...{ task, steps: 3, batchSize: 8, runsFolder: folder, run: 'r', deterministic: true },
  })
  const { run } = await trainer.fit()
  const config = JSON.parse(readFileSync(join(run!, 'config.json'), 'utf8'))
  expect(config).toMatchObject({ deterministic: true, options: { deterministic: true } })
  expect(existsSync(join(run!, 'gemm-choices.json'))).toBe(false)
})

onHost('weft train takes --deterministic and refuses choices of a GPU', () => {
  const flags = ['train', task, '--devices=host:0-1', '--steps=2', '--no-run', '--json']
  const options = { encoding: 'utf8' as const, timeout: 60_000 }
  const out = execFileSync(process.execPath, [command, ...flags, '--deterministic'], options)
  expect(JSON.parse(out)).toMatchObject({ steps: 2, replicasEqual: true })
  const given = `--gemm-choices=${choicesFile('train.json')}`
  const refused = spawnSync(process.execPath, [command, ...flags, given], options)
  expect(refused.status).toBe(1)
  expect(refused.stderr).toMatch(/NVIDIA H999/)
})

/** A child that sets the environment, and what it prints. */
const child = (env: Record<string, string>, program: string) =>
  spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 60_000,
  })

test('WEFT_DETERMINISTIC sets the policy of the process, and nothing else than 1 and 0 passes', () => {
  const program = `const { native } = await import('${new URL('../../../dist/native/addon.js', import.meta.url).href}')
    console.log(native.gemmPolicy())`
  expect(child({ WEFT_DETERMINISTIC: '1' }, program).stdout.trim()).toBe('estimated')
  expect(child({ WEFT_DETERMINISTIC: '0' }, program).stdout.trim()).toBe('measured')
  const wrong = child({ WEFT_DETERMINISTIC: 'yes' }, program)
  expect(wrong.status).not.toBe(0)
  expect(wrong.stderr).toMatch(/UsageError: WEFT_DETERMINISTIC is 'yes'/)
  // Host devices need no policy: a wrong one does not stop them.
  const host = `const { openFabric } = await import('${entry}')
    console.log((await openFabric({ devices: 'host:0' })).snapshot().deterministic)`
  expect(child({ WEFT_DETERMINISTIC: 'yes' }, host).stdout.trim()).toBe('true')
})

test('weft doctor tells how kernels are chosen', () => {
  const doctor = (value: string) =>
    JSON.parse(
      spawnSync(process.execPath, [command, 'doctor', '--json'], {
        encoding: 'utf8',
        env: { ...process.env, WEFT_DETERMINISTIC: value },
        timeout: 60_000,
      }).stdout,
    ).findings.find((each: { name: string }) => each.name === 'choices')
  expect(doctor('1')).toMatchObject({
    state: 'note',
    detail: expect.stringMatching(/deterministic/),
  })
  expect(doctor('no')).toMatchObject({ state: 'missing', remedy: expect.stringMatching(/1 or 0/) })
})
