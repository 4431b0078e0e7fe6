// Runs that the tests of resuming interrupt and go on with, in a folder of the test's own.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, expect } from 'vitest'
import { type TrainEvent, Trainer, type TrainerOptions } from 'weft'
import { several } from '../device.js'

export const STEPS = 40

/** Call it once in a test file. */
export function resumableRuns() {
  let folder = ''
  let workers: Worker[] = []
  const note = (worker: Worker) => workers.push(worker)
  beforeEach(() => {
    workers = []
    process.on('worker', note)
    folder = mkdtempSync(join(tmpdir(), 'weft-resume-'))
  })
  afterEach(() => {
    process.off('worker', note)
    delete process.env['WEFT_TEST_RESUME']
    rmSync(folder, { recursive: true })
  })

  const run = () => join(folder, 'test')
  const checkpoints = () => join(run(), 'checkpoints')
  const kept = () =>
    readdirSync(checkpoints())
      .filter((name) => name.startsWith('step-'))
      .sort()

  function trainer(options: Partial<TrainerOptions> = {}): Trainer {
    return new Trainer({
      task: new URL('../tasks/resumable.mjs', import.meta.url),
      ...several(4),
      steps: STEPS,
      batchSize: 16,
      runsFolder: folder,
      run: 'test',
      ...options,
    } as TrainerOptions)
  }

  /** Without an interruption. */
  const whole = (options: Partial<TrainerOptions> = {}) => trainer({ ...options, run: false }).fit()

  /** Trains until `step`, where a checkpoint is due, and stops there. */
  async function until(step: number, options: Partial<TrainerOptions> = {}) {
    const stopping = trainer({
      checkpoint: { everySteps: step },
      logEvery: step, // which ends a chunk of steps there
      ...options,
      onEvent: (event) => {
        if (event.kind === 'progress' && event.step >= step) stopping.stop()
      },
    })
    const result = await stopping.fit()
    expect(result).toMatchObject({ stopped: true, steps: step })
    return result
  }

  /** Goes on, and tells the notes too. */
  async function resume(options: Partial<TrainerOptions> = {}) {
    const notes: string[] = []
    const onEvent = (event: TrainEvent) => {
      if (event.kind === 'note') notes.push(event.line)
    }
    return { ...(await trainer({ resume: run(), onEvent, ...options }).fit()), notes }
  }

  /** A run whose worker of a rank is terminated once, at the first event of a kind, and why it restarted. */
  function killing(rank: number, kind: TrainEvent['kind'], options: Partial<TrainerOptions>) {
    const restarts: string[] = []
    const first = workers.length
    let killed = 0
    const run = trainer({
      checkpoint: { everySteps: 5 },
      ...options,
      onEvent: (event) => {
        if (event.kind === 'restart') restarts.push(event.reason)
        if (event.kind !== kind || killed > 0) return
        killed++
        void workers[first + rank]!.terminate()
      },
    })
    return { run, restarts }
  }

  return { folder: () => folder, run, checkpoints, kept, trainer, whole, until, resume, killing }
}
