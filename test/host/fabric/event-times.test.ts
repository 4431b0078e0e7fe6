// Device times of events in log mode timing. Runs on the device that WEFT_TEST_DEVICE names, a GPU
// too; by default on a host device.
import { afterEach, beforeAll, expect, test } from 'vitest'
import {
  captureGraph,
  functional as F,
  type Fabric,
  noGrad,
  ones,
  openFabric,
  rand,
  type SnapshotEvent,
} from 'weft'
import { device, several } from '../device.js'

const onStreams = new Set([
  ...['operator', 'copy', 'event_record', 'event_wait', 'collective_launch', 'graph'],
])
let fabric: Fabric
beforeAll(async () => {
  fabric = await openFabric({ devices: [device] })
})
afterEach(() => {
  fabric.logMode = 'off'
})

/** Events of what `work` did, after the device was done with it. */
async function eventsOf(work: () => Promise<unknown>): Promise<readonly SnapshotEvent[]> {
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  await work()
  await fabric.synchronize()
  return fabric.snapshot({ since: nextSequence, limit: 65536 }).events
}

async function chain(): Promise<void> {
  using a = rand([64, 64], { device })
  let x = a.add(1)
  for (let i = 0; i < 200; i++) {
    const next = F.matmul(x, a).mul(0.01)
    x.dispose()
    x = next
  }
  await x.toArray()
  x.dispose()
}

test('in timing mode all work has a device time, after its host time, rising along a stream', async () => {
  fabric.logMode = 'timing'
  const events = await eventsOf(chain)
  const timed = events.filter((event) => onStreams.has(event.kind))
  expect(timed.filter((event) => event.kind === 'operator').length).toBeGreaterThanOrEqual(400)
  const last = new Map<string, number>()
  for (const event of timed) {
    const stream = `${event.device} ${event.stream}`
    expect(event.deviceNs).toBeGreaterThanOrEqual(event.hostNs)
    expect(event.deviceNs).toBeGreaterThanOrEqual(last.get(stream) ?? 0)
    last.set(stream, event.deviceNs)
  }
  expect(events.filter((e) => !onStreams.has(e.kind)).every((e) => e.deviceNs === 0)).toBe(true)
})

test('device times agree with the clock of the host', async () => {
  fabric.logMode = 'timing'
  const events = await eventsOf(chain)
  const taken = fabric.snapshot({ limit: 0 }).takenNs
  const times = events.filter((event) => event.kind === 'operator').map((event) => event.deviceNs)
  expect(Math.max(...times)).toBeLessThan(taken + 1e6)
  const hostNs = events.find((event) => event.kind === 'operator')!.hostNs
  expect(Math.min(...times) - hostNs).toBeLessThan(2e9)
})

test('in basic mode there are none', async () => {
  fabric.logMode = 'basic'
  const events = await eventsOf(chain)
  expect(events.length).toBeGreaterThan(400)
  expect(events.every((event) => event.deviceNs === 0)).toBe(true)
})

test('a snapshot in the middle of the work waits for nothing and has what is known', async () => {
  fabric.logMode = 'timing'
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  const done = chain()
  const during = fabric.snapshot({ since: nextSequence, limit: 65536 }).events
  await done
  await fabric.synchronize()
  const after = new Map(
    fabric.snapshot({ since: nextSequence, limit: 65536 }).events.map((e) => [e.sequence, e]),
  )
  for (const event of during) {
    if (event.deviceNs === 0) continue
    expect(after.get(event.sequence)?.deviceNs).toBe(event.deviceNs)
  }
  using x = ones([1], { device })
  expect(await x.item()).toBe(1)
})

test('work captured into a graph has none, the replay has', async () => {
  fabric.logMode = 'timing'
  using x = ones([16, 16], { device })
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  const graph = captureGraph(() => noGrad(() => F.matmul(x, x).add(1)), { devices: device })
  const captured = fabric.snapshot({ since: nextSequence }).nextSequence
  graph.replay()
  await fabric.synchronize()
  const events = fabric.snapshot({ since: nextSequence }).events
  const inside = events.filter((e) => e.kind === 'operator' && e.sequence < captured)
  expect(inside.length).toBeGreaterThanOrEqual(2)
  const replay = events.filter((e) => e.kind === 'graph' && e.sequence >= captured)
  expect(replay.map((e) => e.deviceNs >= e.hostNs)).toEqual([true])
  expect(await graph.result.toArray()).toEqual(new Array(16).fill(new Array(16).fill(17)))
  graph.dispose()
  graph.result.dispose()
})

test('each rank of a collective has the time at which its part was done', async () => {
  const pair = await openFabric(several(2))
  using group = pair.group()
  const parts = pair.devices.map((each) => ones([1024], { device: each.name }))
  pair.logMode = 'timing'
  const { nextSequence } = pair.snapshot({ limit: 0 })
  await group.allReduce(parts).done
  await pair.synchronize()
  const events = pair.snapshot({ since: nextSequence }).events
  const launches = events.filter((event) => event.kind === 'collective_launch')
  expect(launches.map((event) => event.device)).toEqual(pair.devices.map((each) => each.index))
  for (const event of launches) expect(event.deviceNs).toBeGreaterThanOrEqual(event.hostNs)
  for (const part of parts) part.dispose()
})
