// Steps out of marks: which communication and which lateness belongs to which step. Records made here by hand.
import { expect, test } from 'vitest'
import type { SnapshotEvent } from '../../src/fabric/event-record.js'
import type { Snapshot } from '../../src/fabric/snapshot.js'
import { stepsOf } from '../../src/inspect/steps.js'
import { lanesOf } from '../../src/inspect/timeline.js'

const [compute, comm] = [0, 1]
let sequence = 0
function record(
  kind: SnapshotEvent['kind'],
  device: number,
  stream: number,
  [hostNs, deviceNs]: [number, number],
  more: Partial<SnapshotEvent> = {},
): SnapshotEvent {
  const rest = { peer: -1, bytes: 0, id: 0, detail: 0, extra: 0, name: undefined, tag: undefined }
  return { sequence: ++sequence, kind, device, stream, hostNs, deviceNs, ...rest, ...more }
}
const steps = (events: SnapshotEvent[]) => {
  const snapshot = { events, devices: [], streams: [] } as unknown as Snapshot
  return stepsOf(events, lanesOf(snapshot), (device) => `d${device}`)
}
const mark = (device: number, step: number, at: number, deviceNs = at) =>
  record('step', device, compute, [at, deviceNs], { id: step })
const arrive = (device: number, at: number, id: number) =>
  record('collective_arrive', device, 0, [at, 0], { id, detail: 1 << 8 })

test('communication that reaches over a mark counts in both steps, each with its part', () => {
  const copy = { name: 'all_reduce', detail: 1 << 8 }
  const found = steps([
    mark(0, 1, 1000),
    record('operator', 0, compute, [1000, 1400], { name: 'mul' }),
    record('copy', 0, comm, [1200, 2500], copy), // 1200 to 2500, computed beside until 1400
    mark(0, 2, 2000),
    mark(0, 0, 3000),
  ])
  expect(found.map(({ step, devices }) => [step, devices[0]])).toEqual([
    [1, { device: 'd0', ns: 1000, communicationNs: 800, exposedNs: 600, calls: 0, meanLateNs: 0 }],
    [2, { device: 'd0', ns: 1000, communicationNs: 500, exposedNs: 500, calls: 0, meanLateNs: 0 }],
  ])
})

test('lateness goes by the mark before the arrival, of each rank its own', () => {
  const found = steps([
    ...[mark(0, 7, 100), mark(1, 7, 100)],
    ...[arrive(0, 110, 1), arrive(1, 150, 1), arrive(0, 200, 2)],
    mark(0, 8, 210), // rank 0 is in step 8 when rank 1 comes to the call of step 7
    arrive(1, 260, 2),
    ...[mark(1, 8, 270), arrive(0, 300, 3), arrive(1, 300, 3)],
    ...[mark(0, 0, 400), mark(1, 0, 400)],
  ])
  const late = found.map(({ step, devices }) => [
    step,
    ...devices.map((d) => [d.device, d.calls, d.meanLateNs]),
  ])
  expect(late).toEqual([
    [7, ['d0', 2, 0], ['d1', 2, 50]],
    [8, ['d0', 1, 0], ['d1', 1, 0]],
  ])
})

test('without device times a step has its host time and no communication; an open step is left out', () => {
  const found = steps([mark(0, 1, 10, 0), mark(0, 2, 30, 0), arrive(0, 40, 1)])
  expect(found).toEqual([
    {
      step: 1,
      devices: [
        {
          device: 'd0',
          ns: 20,
          communicationNs: undefined,
          exposedNs: undefined,
          calls: 0,
          meanLateNs: 0,
        },
      ],
    },
  ])
})
