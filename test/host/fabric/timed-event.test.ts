// Timed events and the launch probe.
import { expect, test } from 'vitest'
import {
  createStream,
  DeviceError,
  openFabric,
  scope,
  setDefaultDevice,
  synchronize,
  TimedEvent,
  UsageError,
  withStream,
  zeros,
} from 'weft'
import { faults, launchProbe } from 'weft/testing'
import { device, elsewhere, onGpu, ordinal, several } from '../device.js'

setDefaultDevice(device)

test('the time between two events is device time of the work between them', async () => {
  const fabric = await openFabric(several(1))
  const x = zeros([16])
  const [start, stop] = [new TimedEvent(device), new TimedEvent(device)]
  faults.setDeviceDelay(ordinal, 3000)
  start.record()
  scope(() => x.add(1))
  stop.record()
  await fabric.synchronize()
  faults.clear()
  expect(stop.isDone).toBe(true)
  expect(stop.elapsedMs(start)).toBeGreaterThanOrEqual(onGpu ? 0 : 3)
  expect(stop.elapsedMs(start)).toBeLessThan(60_000)
  expect(start.elapsedMs(start)).toBe(0)
  x.dispose()
})

test('an event can be recorded again and counts from the latest record', async () => {
  await openFabric(several(1))
  const event = new TimedEvent(device).record()
  await synchronize(device)
  const later = new TimedEvent(device).record()
  event.record()
  await synchronize(device)
  expect(event.elapsedMs(later)).toBeGreaterThanOrEqual(0)
})

test('record() marks the current stream', async () => {
  await openFabric(several(1))
  const launch = launchProbe(device)
  const stream = createStream(device)
  const event = new TimedEvent(device)
  withStream(stream, () => {
    launch()
    event.record()
  })
  await synchronize(device)
  expect(event.isDone).toBe(true)
})

test('wrong uses are named', async () => {
  await openFabric(several(2))
  const never = new TimedEvent(device)
  const event = new TimedEvent(device).record()
  const other = new TimedEvent(elsewhere).record()
  await synchronize(device)
  await synchronize(elsewhere)
  expect(never.isDone).toBe(false)
  expect(() => event.elapsedMs(never)).toThrow(UsageError)
  expect(() => event.elapsedMs(other)).toThrow(DeviceError)
})
