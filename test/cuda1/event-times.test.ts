// Device times of the event log on a GPU: they agree with CUDA's own timed events and, over seconds and
// many anchors, with the clock of the host. test/host/fabric/event-times.test.ts runs there too.
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  functional as F,
  type Fabric,
  openFabric,
  rand,
  type SnapshotEvent,
  TimedEvent,
} from 'weft'

const device = process.env.WEFT_TEST_DEVICE ?? 'cuda:0'
let fabric: Fabric
beforeAll(async () => {
  fabric = await openFabric({ devices: [device] })
})
afterAll(() => {
  fabric.logMode = 'off'
})

function matmuls(count: number, size: number): void {
  using a = rand([size, size], { device, dtype: 'bf16' })
  for (let i = 0; i < count; i++) F.matmul(a, a).dispose()
}

async function operatorsSince(since: number): Promise<SnapshotEvent[]> {
  await fabric.synchronize()
  const { events } = fabric.snapshot({ since, limit: 65536 })
  return events.filter((event) => event.kind === 'operator' && event.name === 'matmul')
}

test('the time between two operators is what timed events measure', async () => {
  matmuls(5, 8192) // warm: chooses kernels
  await fabric.synchronize()
  fabric.logMode = 'timing'
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  matmuls(1, 8192)
  const start = new TimedEvent(device).record()
  matmuls(40, 8192)
  const stop = new TimedEvent(device).record()
  const times = (await operatorsSince(nextSequence)).map((event) => event.deviceNs)
  expect(times).toHaveLength(41)
  const logged = (times[40]! - times[0]!) / 1e6
  const measured = stop.elapsedMs(start)
  expect(Math.abs(logged / measured - 1)).toBeLessThan(0.02)
})

test('over seven seconds they rise and stay with the host clock', async () => {
  fabric.logMode = 'timing'
  const end = performance.now() + 7000
  let last = 0
  let since = fabric.snapshot({ limit: 0 }).nextSequence
  while (performance.now() < end) {
    matmuls(50, 2048)
    for (const event of await operatorsSince(since)) {
      expect(event.deviceNs).toBeGreaterThanOrEqual(Math.max(event.hostNs, last))
      last = event.deviceNs
    }
    const { takenNs, nextSequence } = fabric.snapshot({ limit: 0 })
    // The device was idle when the snapshot was taken: nothing ended after it.
    expect(last).toBeLessThan(takenNs + 100_000)
    since = nextSequence
  }
})

test('enqueuing never waits for the device', async () => {
  fabric.logMode = 'timing'
  await fabric.synchronize()
  const stop = new TimedEvent(device)
  const start = performance.now()
  matmuls(100, 8192) // some 150 ms of work
  stop.record()
  const enqueued = performance.now() - start
  expect(stop.isDone).toBe(false)
  await fabric.synchronize()
  expect(performance.now() - start).toBeGreaterThan(2 * enqueued)
})
