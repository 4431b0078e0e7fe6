// Timed events and the launch probe on host devices.
import { expect, test } from 'vitest'
import {
  createStream,
  DeviceError,
  faults,
  launchProbe,
  openFabric,
  scope,
  synchronize,
  TimedEvent,
  UsageError,
  withStream,
  zeros,
} from 'weft'

test('the time between two events is device time of the work between them', async () => {
  const fabric = await openFabric({ devices: 'host:1' })
  const x = zeros([16])
  const [start, stop] = [new TimedEvent('host:0'), new TimedEvent('host:0')]
  faults.setDeviceDelay(0, 3000)
  start.record()
  scope(() => x.add(1))
  stop.record()
  await fabric.synchronize()
  faults.clear()
  expect(stop.done).toBe(true)
  expect(stop.elapsedMs(start)).toBeGreaterThanOrEqual(3)
  expect(stop.elapsedMs(start)).toBeLessThan(60_000)
  expect(start.elapsedMs(start)).toBe(0)
  x.dispose()
})

test('an event can be recorded again and counts from the latest record', async () => {
  await openFabric({ devices: 'host:1' })
  const event = new TimedEvent('host:0').record()
  await synchronize('host:0')
  const later = new TimedEvent('host:0').record()
  event.record()
  await synchronize('host:0')
  expect(event.elapsedMs(later)).toBeGreaterThanOrEqual(0)
})

test('record() marks the current stream', async () => {
  await openFabric({ devices: 'host:1' })
  const launch = launchProbe('host:0')
  const stream = createStream('host:0')
  const event = new TimedEvent('host:0')
  withStream(stream, () => {
    launch()
    event.record()
  })
  await synchronize('host:0')
  expect(event.done).toBe(true)
})

test('wrong uses are named', async () => {
  await openFabric({ devices: 'host:2' })
  const never = new TimedEvent('host:0')
  const event = new TimedEvent('host:0').record()
  const other = new TimedEvent('host:1').record()
  await synchronize('host:0')
  await synchronize('host:1')
  expect(never.done).toBe(false)
  expect(() => event.elapsedMs(never)).toThrow(UsageError)
  expect(() => event.elapsedMs(other)).toThrow(DeviceError)
})
