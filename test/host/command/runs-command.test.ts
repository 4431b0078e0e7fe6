// `weft runs` over runs that `weft train` made: every state that a run can be in, and what differs between two.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readJsonLines } from '../../../src/metrics/jsonl.js'
import { device, onGpu, severalNames } from '../device.js'

const main = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))
const taskFile = (name: string) => fileURLToPath(new URL(`../tasks/${name}`, import.meta.url))
const devices = onGpu ? [`--devices=${device}`, '--virtual=2'] : ['--devices=host:0-1']
const folder = mkdtempSync(join(tmpdir(), 'weft-runs-'))

const trainArgs = (run: string, task: string, flags: string[]) => [
  ...[main, 'train', taskFile(task), ...devices],
  ...[`--runs-folder=${folder}`, `--run=${run}`, ...flags],
]
function train(run: string, flags: string[], task = 'regression.mjs', fault = 'none') {
  const env = { ...process.env, WEFT_TEST_FAULT: fault }
  const options = { encoding: 'utf8', timeout: 60_000, env } as const
  return spawnSync(process.execPath, trainArgs(run, task, flags), options)
}
const runs = (...args: string[]) =>
  spawnSync(process.execPath, [main, 'runs', ...args], {
    encoding: 'utf8',
    timeout: 60_000,
    cwd: folder,
  })
const listed = (name: string) => {
  const { stdout } = runs('--runs-folder', folder, '--json')
  return JSON.parse(stdout).runs.find((run: { name: string }) => run.name === name)
}

beforeAll(() => {
  const flags = ['--steps=40', '--log-every=10', '--evaluate-every=20']
  expect(train('first', flags).status).toBe(0)
  expect(train('second', [...flags, '--lr=0.01']).status).toBe(0)
})
afterAll(() => rmSync(folder, { recursive: true }))

describe('weft runs', () => {
  it('tells a finished run as its own files do', () => {
    const lines = readJsonLines(join(folder, 'first', 'metrics.jsonl'))
    const run = listed('first')
    expect(run).toMatchObject({
      task: 'regression',
      state: 'finished',
      steps: 40,
      totalSteps: 40,
      devices: severalNames(2),
      error: null,
      metrics: { error: lines.at(-1)!.error },
    })
    expect(run.loss).toBeGreaterThan(0)
    expect(run.seconds).toBeGreaterThan(0)
    const { stdout, status } = runs('--runs-folder', folder)
    expect(status).toBe(0)
    expect(stdout).toMatch(/│ first +│ regression │ finished │ 40\/40 +│/)
  })

  it('tells a run that failed, with its error', () => {
    expect(train('broken', ['--steps=9'], 'faulty.mjs', 'throw:1:3').status).toBe(1)
    expect(listed('broken')).toMatchObject({ state: 'failed' })
    expect(runs('--runs-folder', folder).stdout).toMatch(/^broken: .*the task is broken/m)
  })

  it('tells a run that goes on from one that was killed, and from one that goes on again', async () => {
    const flags = ['--steps=1000000', '--log-every=20', '--checkpoint-every=20']
    const child = spawn(process.execPath, trainArgs('long', 'regression.mjs', flags))
    const closed = once(child, 'close')
    try {
      let told = ''
      for await (const chunk of child.stdout) {
        told += String(chunk)
        if (/step \d+ {2}checkpoint/.test(told)) break
      }
      expect(listed('long')).toMatchObject({ state: 'running', totalSteps: 1_000_000 })
    } finally {
      child.kill('SIGKILL')
      await closed
    }
    const killed = listed('long')
    expect(killed.state).toBe('killed')
    expect(killed.steps).toBeGreaterThanOrEqual(20)
    const to = String(killed.steps + 100)
    expect(train('long', ['--resume', `--steps=${to}`]).status).toBe(0)
    expect(listed('long')).toMatchObject({ state: 'finished', steps: Number(to) })
  })

  it('does not guess the state of a run of another machine', () => {
    const path = join(folder, 'elsewhere')
    cpSync(join(folder, 'first'), path, { recursive: true })
    rmSync(join(path, 'result.json'))
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))
    config.process.host = 'another machine'
    writeFileSync(join(path, 'config.json'), JSON.stringify(config))
    expect(listed('elsewhere')).toMatchObject({ state: 'unknown', steps: 40 })
  })

  it('leaves out a run that cannot be read, says why, and shows the others', () => {
    const path = join(folder, 'torn')
    cpSync(join(folder, 'first'), path, { recursive: true })
    appendFileSync(join(path, 'metrics.jsonl'), 'no json\n')
    const { stdout, status } = runs('--runs-folder', folder)
    expect(status).toBe(0)
    expect(stdout).toMatch(/left out: .*torn.metrics\.jsonl cannot be read/)
    expect(stdout).toContain('│ first')
    rmSync(path, { recursive: true })
  })

  it('refuses a folder or a run that is not there', () => {
    const none = runs('--runs-folder', join(folder, 'nowhere'))
    expect(none.status).toBe(2)
    expect(none.stderr).toMatch(/^weft: UsageError \(WEFT_USAGE\): no runs in .*nowhere/)
    const one = runs('compare', 'first', 'nobody', '--runs-folder', folder)
    expect(one.status).toBe(2)
    expect(one.stderr).toMatch(/no run nobody: looked for/)
    expect(runs('compare', 'first', '--runs-folder', folder).status).toBe(2)
  })
})

describe('weft runs compare', () => {
  it('shows the settings that differ and no others, and the curves at common steps', () => {
    const { stdout, status } = runs('compare', 'first', 'second', '--runs-folder', folder, '--json')
    expect(status).toBe(0)
    const { settings, curves } = JSON.parse(stdout)
    expect(settings).toEqual([{ name: 'lr', values: [null, 0.01] }])
    const logged = (run: string, kind: string, key: string) =>
      readJsonLines(join(folder, run, 'metrics.jsonl'))
        .filter((line) => line.kind === kind)
        .map((line) => ({ step: line.step, value: line[key] }))
    for (const [name, kind, key] of [
      ['loss', 'train', 'loss'],
      ['held-out error', 'evaluation', 'error'],
    ] as const) {
      const first = logged('first', kind, key)
      const second = new Map(logged('second', kind, key).map(({ step, value }) => [step, value]))
      const expected = first
        .filter(({ step }) => second.has(step))
        .map(({ step, value }) => ({ step, values: [value, second.get(step)] }))
      expect(expected.length).toBeGreaterThan(1)
      expect(curves.find((curve: { name: string }) => curve.name === name).rows).toEqual(expected)
    }
  })

  it('takes paths, and shows tables', () => {
    const { stdout } = runs('compare', join(folder, 'first'), './second')
    expect(stdout).toMatch(/│ lr +│ - +│ 0\.01 +│/)
    expect(stdout).toMatch(/│ loss +│ first +│ second +│ difference +│/)
    expect(stdout).toMatch(/│ held-out error +│/)
  })

  it('--svg draws them over each other; each run has drawn its own curves', () => {
    const file = join(folder, 'both.svg')
    expect(runs('compare', 'first', 'second', '--runs-folder', '.', '--svg', file).status).toBe(0)
    const lines = (path: string) => readFileSync(path, 'utf8').match(/<polyline /g)!.length
    const own = lines(join(folder, 'first', 'curves.svg'))
    expect(own).toBeGreaterThanOrEqual(3)
    expect(lines(file)).toBe(own + lines(join(folder, 'second', 'curves.svg')))
    const nowhere = join(folder, 'first', 'config.json', 'both.svg')
    const { status, stderr } = runs(
      'compare',
      'first',
      './second',
      '--runs-folder',
      '.',
      '--svg',
      nowhere,
    )
    expect(status).toBe(2)
    expect(stderr).toMatch(/both\.svg cannot be written/)
  })
})
