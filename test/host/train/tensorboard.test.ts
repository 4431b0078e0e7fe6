// Trainer({ sinks: ['tensorboard'] }): TensorBoard's own reader finds what metrics.jsonl holds, also of a run that was
// resumed; a sink that fails ends no run. The reader: npm run readers
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Trainer, type TrainerOptions } from 'weft'
import { readJsonLines } from '../../../src/metrics/jsonl.js'
import { several } from '../device.js'

const task = new URL('../tasks/regression.mjs', import.meta.url)
const packages = fileURLToPath(new URL('../../../.weft/tensorboard', import.meta.url))
const reader = existsSync(join(packages, 'tensorboard'))
const withReader = (promise: string) =>
  reader ? promise : `${promise} (skipped: no .weft/tensorboard, npm run readers)`

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-tensorboard-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const fit = (options: Partial<TrainerOptions>) =>
  new Trainer({
    ...{ task, ...several(2), runsFolder: folder, run: 'r', batchSize: 8 },
    ...{ logEvery: 5, evaluateEvery: 10, sinks: ['tensorboard'] },
    ...options,
  }).fit()

/** { tag: [[step, value], …] } as TensorBoard's event accumulator has it. */
function readBack(): Record<string, [number, number][]> {
  const program = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'tensors': 0})
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))`
  const { stdout, stderr, status } = spawnSync(
    'python3',
    ['-c', program, join(folder, 'r', 'tensorboard')],
    { encoding: 'utf8', timeout: 60_000, env: { ...process.env, PYTHONPATH: packages } },
  )
  expect(status, stderr).toBe(0)
  return JSON.parse(stdout)
}

/** What metrics.jsonl holds, in the same form. */
function logged(kind: string, key: string): [number, number][] {
  return readJsonLines(join(folder, 'r', 'metrics.jsonl'))
    .filter((line) => line.kind === kind)
    .map((line) => [Number(line.step), Math.fround(Number(line[key]))])
}

function requireSame(): void {
  const scalars = readBack()
  expect(logged('train', 'loss').length).toBeGreaterThan(2)
  expect(scalars['train/loss']).toEqual(logged('train', 'loss'))
  expect(scalars['train/lr']).toEqual(logged('train', 'lr'))
  expect(scalars['held-out/error']).toEqual(logged('evaluation', 'error'))
}

describe('the TensorBoard sink', () => {
  it.skipIf(!reader)(withReader('holds the curves of metrics.jsonl'), async () => {
    await fit({ steps: 30 })
    requireSame()
  })

  it.skipIf(!reader)(
    withReader('of a resumed run, what came behind the checkpoint is void'),
    async () => {
      const checkpoint = { everySteps: 10 }
      await fit({ steps: 30, checkpoint })
      rmSync(join(folder, 'r', 'checkpoints', 'step-00000030'), { recursive: true })
      // Not said anew: it is as it was in the run.
      await fit({ steps: 40, resume: true, sinks: [], logEvery: 4 })
      requireSame()
      expect(readBack()['train/loss']!.map(([step]) => step)).toContain(24)
      expect(readBack()['train/loss']!.map(([step]) => step)).not.toContain(25)
    },
  )

  it.skipIf(!reader)(withReader('of a run that begins again, what was there is void'), async () => {
    await fit({ steps: 30 })
    await fit({ steps: 20, resume: true, logEvery: 4 })
    requireSame()
    expect(readBack()['train/loss']!.map(([step]) => step)).toEqual([4, 8, 12, 16, 20])
  })

  it('that cannot be written is told once, and the run goes on', async () => {
    await fit({ steps: 10, sinks: [], checkpoint: { everySteps: 5 } })
    writeFileSync(join(folder, 'r', 'tensorboard'), 'in the way')
    const notes: string[] = []
    const { steps } = await fit({
      steps: 20,
      resume: true,
      onEvent: (event) => event.kind === 'note' && notes.push(event.line),
    })
    expect(steps).toBe(20)
    expect(notes.filter((line) => line.startsWith('sink tensorboard failed'))).toHaveLength(1)
  })

  it('needs the folder of a run', () => {
    expect(() => new Trainer({ task, run: false, sinks: ['tensorboard'] })).toThrow(
      /the sink tensorboard needs the run's folder/,
    )
  })
})
