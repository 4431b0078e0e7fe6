// Values leaving a device: order, concurrency, and an event loop that goes on meanwhile.
import { afterEach, expect, test } from 'vitest'
import { openFabric, setDefaultDevice, synchronize, tensor, UsageError, zeros } from 'weft'
import { faults } from 'weft/testing'
import { device, hostOnly, ordinal, several } from '../device.js'

setDefaultDevice(device)
const slowDevice = hostOnly('it makes the device slow')
afterEach(() => faults.clear())

test('reads see the work before them and not the work after', async () => {
  const x = zeros([4])
  const first = x.toArray()
  x.add_(1)
  const second = x.toArray()
  x.add_(1)
  expect(await Promise.all([first, second, x.toArray()])).toEqual([
    [0, 0, 0, 0],
    [1, 1, 1, 1],
    [2, 2, 2, 2],
  ])
})

test('a thousand reads at once', async () => {
  const tensors = Array.from({ length: 1000 }, (_, i) => tensor([i, -i]))
  const values = await Promise.all(tensors.map((t) => t.data()))
  values.forEach((data, i) => {
    expect(Array.from(data, Number)).toEqual([i, -i])
  })
})

test('a tensor may be disposed of while it is read', async () => {
  const x = tensor([1, 2, 3])
  const reading = x.toArray()
  x.dispose()
  zeros([3]).fill_(9)
  expect(await reading).toEqual([1, 2, 3])
})

test('item takes one element', async () => {
  expect(await tensor([[7]]).item()).toBe(7)
  expect(await tensor(5n).item()).toBe(5)
  expect(await tensor(true).item()).toBe(1)
  await expect(zeros([2]).item()).rejects.toThrow(UsageError)
})

test('empty tensors', async () => {
  expect(await zeros([0]).data()).toHaveLength(0)
})

slowDevice('a slow device does not block the event loop', async () => {
  faults.setDeviceDelay(ordinal, 30_000)
  const x = zeros([1]).add(1)
  let turns = 0
  const timer = setInterval(() => turns++, 2)
  expect(await x.item()).toBe(1)
  clearInterval(timer)
  expect(turns).toBeGreaterThan(3)
})

slowDevice('synchronize waits, and gives up at its limit', async () => {
  const fabric = await openFabric(several(2))
  zeros([1]).add(1)
  await fabric.synchronize()
  faults.setDeviceDelay(ordinal, 200_000)
  zeros([1]).add(1)
  await expect(synchronize(device, { timeoutMs: 20 })).rejects.toThrow(`${device} was not done`)
  faults.clear()
  await fabric.synchronize()
})
