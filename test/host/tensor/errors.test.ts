// Native errors arrive as classes with stable codes and fields; bad arguments never reach a kernel.
import { afterEach, expect, test } from 'vitest'
import {
  DeviceError,
  DisposedError,
  DtypeError,
  functional as F,
  memory,
  OutOfMemoryError,
  openFabric,
  releaseCached,
  ShapeError,
  setDefaultDevice,
  setMemoryLimit,
  tensor,
  UsageError,
  WeftError,
  zeros,
} from 'weft'
import { faults } from 'weft/testing'
import { native } from '../../../dist/native/addon.js'
import { device, elsewhere, hostOnly, ordinal, several } from '../device.js'

setDefaultDevice(device)
afterEach(() => {
  faults.clear()
  setMemoryLimit(0)
})

test('class, code, name and message', () => {
  let caught: unknown
  try {
    zeros([2]).add(zeros([3]))
  } catch (error) {
    caught = error
  }
  expect(caught).toBeInstanceOf(ShapeError)
  expect(caught).toBeInstanceOf(WeftError)
  expect(caught).toMatchObject({ name: 'ShapeError', code: 'WEFT_SHAPE' })
  expect((caught as Error).message).toContain('(2,) and (3,)')
})

test('tensors of two devices', async () => {
  await openFabric(several(2))
  const call = () => zeros([1]).add(zeros([1], { device: elsewhere }))
  expect(call).toThrow(DeviceError)
  expect(call).toThrow(`${device} and ${elsewhere}`)
})

test('devices that are not there', async () => {
  expect(() => zeros([1], { device: 'tpu:0' })).toThrow(DeviceError)
  await expect(openFabric({ devices: ['nonsense'] })).rejects.toThrow(DeviceError)
})

test('out of memory carries the figures and leaves the rest alive', async () => {
  const alive = tensor([1, 2, 3])
  releaseCached()
  setMemoryLimit(memory()[device]!.reservedBytes + (1 << 20))
  let caught: WeftError | undefined
  try {
    zeros([64 << 20])
  } catch (error) {
    caught = error as WeftError
  }
  expect(caught).toBeInstanceOf(OutOfMemoryError)
  expect(caught!.fields).toHaveProperty('requested')
  expect(await alive.toArray()).toEqual([1, 2, 3])
})

hostOnly('it makes an allocation of the driver fail')('a failed driver allocation', () => {
  releaseCached()
  faults.failAllocations(ordinal, 100)
  expect(() => zeros([32 << 20])).toThrow(OutOfMemoryError)
  faults.clear()
  zeros([1024]).dispose()
})

test('an index out of range shows at the next wait, once', async () => {
  const weight = zeros([3, 2])
  const rows = F.embedding(weight, tensor([0, 7], { dtype: 'i64' }))
  await expect(rows.toArray()).rejects.toThrow(UsageError)
  expect(await weight.toArray()).toHaveLength(3)
})

test.each([
  ['embedding', () => F.embedding(zeros([3, 2]), tensor([7n])), '7', '0..2'],
  ['gather', () => zeros([2, 3]).gather(1, tensor([[5n], [0n]])), '5', '0..2'],
  ['cross_entropy', () => F.crossEntropy(zeros([2, 4]), tensor([1n, -9n])), '-9', '0..3'],
])('an index out of range names its operator: %s', async (name, run, index, range) => {
  await expect(run().toArray()).rejects.toThrow(
    `${name} on ${device} met index ${index}, which is not in ${range}`,
  )
})

test('stale handles', () => {
  const x = zeros([1])
  const handle = x.handle
  x.dispose()
  expect(() => native.tensorMeta(handle)).toThrow(DisposedError)
  expect(() => native.tensorMeta(0)).toThrow(DisposedError)
  expect(native.alive(handle)).toBe(false)
  expect(native.release(handle)).toBe(false)
})

test('arguments without sense', () => {
  const x = zeros([2, 2])
  expect(() => x.transpose(Number.NaN, 1)).toThrow(UsageError)
  expect(() => x.reshape([1.5])).toThrow(UsageError)
  expect(() => native.call(9999, 0)).toThrow(UsageError)
  expect(() => native.call(1, 0)).toThrow(/too few/)
  expect(() => native.release('x' as never)).toThrow(UsageError)
  expect(() => F.add(1, 2)).toThrow(UsageError)
  expect(() => x.to({ dtype: 'i8' as never })).toThrow(DtypeError)
})
