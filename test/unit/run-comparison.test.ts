// Comparing runs: nested settings by path, lists as a whole, curves only where all runs have the step.
import { expect, it } from 'vitest'
import { compareRuns } from '../../src/inspect/run-comparison.js'
import type { RunRecord } from '../../src/inspect/run-records.js'

const run = (settings: Record<string, unknown>, curves: Record<string, [number, number][]>) =>
  ({
    ...{ name: 'r', path: 'r', task: 't', state: 'finished', started: '', seconds: 1 },
    ...{ devices: ['host:0'], parameters: 4, steps: 1, totalSteps: 1, loss: 1, metrics: {} },
    ...{ samplesPerSecond: 1, error: undefined, settings },
    curves: Object.fromEntries(
      Object.entries(curves).map(([name, points]) => [
        name,
        points.map(([step, value]) => ({ step, value })),
      ]),
    ),
  }) satisfies RunRecord

it('names a nested setting by its path, and one that a run lacks', () => {
  const { settings } = compareRuns([
    run({ checkpoint: { keep: 2, everySteps: 5 }, plugins: ['a'], lr: null, steps: 3 }, {}),
    run({ checkpoint: { keep: 3, everySteps: 5 }, plugins: ['a', 'b'], steps: 3 }, {}),
  ])
  expect(settings).toEqual([
    { name: 'checkpoint.keep', values: [2, 3] },
    { name: 'plugins', values: [['a'], ['a', 'b']] },
  ])
})

it('tells other devices and another task', () => {
  const other = { ...run({}, {}), task: 'u', devices: ['host:0', 'host:1'] }
  expect(compareRuns([run({}, {}), other]).settings).toEqual([
    { name: 'task', values: ['t', 'u'] },
    { name: 'devices', values: [['host:0'], ['host:0', 'host:1']] },
  ])
})

it('keeps the steps that all three have, and names a curve that has none', () => {
  const { curves, apart } = compareRuns([
    run(
      {},
      {
        loss: [
          [1, 3],
          [2, 2],
          [3, 1],
        ],
        accuracy: [[1, 0.5]],
        mine: [[1, 1]],
      },
    ),
    run(
      {},
      {
        loss: [
          [2, 20],
          [3, 10],
        ],
        accuracy: [[2, 0.6]],
      },
    ),
    run(
      {},
      {
        loss: [
          [3, 100],
          [2, 200],
        ],
        accuracy: [[1, 0.7]],
      },
    ),
  ])
  expect(curves).toEqual([
    {
      name: 'loss',
      rows: [
        { step: 2, values: [2, 20, 200] },
        { step: 3, values: [1, 10, 100] },
      ],
    },
  ])
  expect(apart).toEqual(['accuracy'])
})
