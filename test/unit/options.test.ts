// Trainer options: what is refused, and how they combine with a task's defaults.
import { describe, expect, it } from 'vitest'
import { UsageError } from '../../src/native/errors.js'
import {
  checkOptions,
  logInterval,
  runSettings,
  type TrainerOptions,
} from '../../src/train/options.js'

const check = (options: Record<string, unknown> = {}) =>
  checkOptions({ task: './task.js', ...options } as TrainerOptions)

describe('checkOptions', () => {
  it('fills in defaults', () => {
    expect(check()).toEqual({
      task: './task.js',
      devices: 'auto',
      graph: false,
      plugins: [],
      dataThread: false,
      bucketMegabytes: 25,
      timeoutMs: 30_000,
      stallMs: 600_000,
      runsFolder: 'runs',
      saveWeights: true,
      sinks: [],
      gradNorm: false,
      unusedParameters: 'error',
      nonFinite: 'error',
      maxSkippedInARow: 20,
      resume: false,
      restarts: 0,
    })
  })

  it('takes every documented form', () => {
    const onEvent = () => {}
    const options = check({
      task: new URL('file:///tasks/digits.js'),
      devices: Object.freeze(['host:0', 'host:1']),
      steps: 5,
      batchSize: 16,
      run: false,
      onEvent,
    })
    expect(options.devices).toEqual(['host:0', 'host:1'])
    expect(options.onEvent).toBe(onEvent)
  })

  it('takes a list that may not be written to, as TypeScript sees it', () => {
    const names: readonly string[] = ['host:0']
    const options: TrainerOptions = { task: './task.js', devices: names }
    expect(checkOptions(options).devices).toEqual(names)
  })

  it.each([
    [{ batchSize: 0 }, /batchSize/],
    [{ batchSize: 1.5 }, /batchSize/],
    [{ steps: -1 }, /steps/],
    [{ devices: [] }, /devices/],
    [{ bucketMegabytes: 0 }, /bucketMegabytes/],
    [{ timeoutMs: Number.NaN }, /timeoutMs/],
    [{ onEvent: 3 }, /onEvent/],
    [{ stpes: 3 }, /stpes/],
    [{ checkpoint: { everySteps: 0 } }, /checkpoint\.everySteps/],
    [{ checkpoint: { best: { metric: 'loss', mode: 'low' } } }, /checkpoint\.best\.mode/],
    [{ checkpoint: true }, /checkpoint/],
    [{ checkpoint: {}, run: false }, /checkpoint needs the run's folder/],
    [{ resume: true, restarts: 2, run: false }, /resume and restarts needs/],
    [{ restarts: -1 }, /restarts/],
    [{ task: '' }, /task/],
    [{ steps: 3, epochs: 1 }, /steps or epochs/],
  ])('refuses %j by name', (options, pattern) => {
    expect(() => check(options)).toThrow(UsageError)
    expect(() => check(options)).toThrow(pattern)
  })
})

describe('runSettings', () => {
  it('prefers the user to the task, and the task to itself', () => {
    const defaults = { steps: 100, batchSize: 64, clipNorm: 1, seed: 7 }
    const settings = runSettings(check({ batchSize: 8, seed: 9 }), defaults)
    expect(settings).toMatchObject({
      steps: 100,
      batchSize: 8,
      seed: 9,
      clipNorm: 1,
      accumulate: 1,
    })
  })

  it("lets the user's length replace the task's, in either unit", () => {
    expect(runSettings(check({ epochs: 2 }), { steps: 100 })).toMatchObject({
      steps: undefined,
      epochs: 2,
    })
    expect(runSettings(check({ steps: 3 }), { epochs: 2 })).toMatchObject({
      steps: 3,
      epochs: undefined,
    })
  })

  it('asks for a length when nobody gave one', () => {
    expect(() => runSettings(check(), {})).toThrow(/steps or epochs/)
  })

  it('logs about fifty times a run unless told otherwise', () => {
    const settings = runSettings(check({ steps: 500 }), {})
    expect(logInterval(settings, 500)).toBe(10)
    expect(logInterval(settings, 3)).toBe(1)
    expect(logInterval({ ...settings, logEvery: 4 }, 500)).toBe(4)
  })
})
