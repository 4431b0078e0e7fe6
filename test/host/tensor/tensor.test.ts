// Tensors from host data and back, for every dtype and layout of the input; operators with numbers.
import { describe, expect, test } from 'vitest'
import {
  arange,
  DeviceError,
  type DType,
  DtypeError,
  defaultDevice,
  functional as F,
  format,
  fromBytes,
  full,
  manualSeed,
  ones,
  openFabric,
  rand,
  randint,
  randn,
  ShapeError,
  setDefaultDevice,
  Tensor,
  tensor,
  zeros,
  zerosLike,
} from 'weft'
import { gpuCount } from '../../../dist/fabric/devices.js'
import { device, elsewhere, several } from '../device.js'

const unset = defaultDevice()
setDefaultDevice(device)
await openFabric(several(2))

test('nested arrays round-trip', async () => {
  const data = [
    [
      [1, 2],
      [3, 4],
    ],
    [
      [5, 6],
      [7, 8],
    ],
  ]
  const x = tensor(data)
  expect(x).toMatchObject({ shape: [2, 2, 2], strides: [4, 2, 1], dtype: 'f32', device })
  expect(x).toMatchObject({ rank: 3, numel: 8, isContiguous: true, isLeaf: true })
  expect(await x.toArray()).toEqual(data)
})

test.each<[DType, ArrayConstructor | unknown]>([
  ['f32', Float32Array],
  ['f64', Float64Array],
  ['f16', Float32Array],
  ['bf16', Float32Array],
  ['i64', BigInt64Array],
  ['i32', Int32Array],
  ['u8', Uint8Array],
  ['bool', Uint8Array],
])('%s comes back as its typed array', async (dtype, array) => {
  const x = tensor([0, 1, 1], { dtype })
  expect(x.dtype).toBe(dtype)
  const data = await x.data()
  expect(data).toBeInstanceOf(array)
  expect(Array.from(data as Float32Array, Number)).toEqual([0, 1, 1])
})

test('dtypes are guessed from the data', () => {
  expect(tensor([true, false]).dtype).toBe('bool')
  expect(tensor([1n]).dtype).toBe('i64')
  expect(tensor(new Uint8Array(2)).dtype).toBe('u8')
  expect(tensor(new Int16Array(2)).dtype).toBe('i32')
  expect(tensor(5).shape).toEqual([])
})

describe('typed arrays', () => {
  test('a view into a larger buffer', async () => {
    const all = Float32Array.from([9, 1, 2, 3, 4, 9])
    const x = tensor(all.subarray(1, 5), { shape: [2, 2] })
    expect(await x.toArray()).toEqual([
      [1, 2],
      [3, 4],
    ])
  })
  test('a SharedArrayBuffer', async () => {
    const shared = new Float64Array(new SharedArrayBuffer(24))
    shared.set([1.5, 2.5, 3.5])
    const x = tensor(shared)
    shared.fill(0)
    expect(await x.toArray()).toEqual([1.5, 2.5, 3.5])
  })
  test('converted on the way', async () => {
    expect(await tensor(new Float64Array([1.25, 2]), { dtype: 'f32' }).toArray()).toEqual([1.25, 2])
    expect(await tensor(new Int8Array([-3, 4]), { dtype: 'f16' }).toArray()).toEqual([-3, 4])
    expect(await tensor(new Float32Array([0, 2]), { dtype: 'bool' }).toArray()).toEqual([
      false,
      true,
    ])
  })
  test('raw bytes', async () => {
    const one = new Uint16Array([0x3f80, 0x4000]) // bf16 1 and 2
    const x = fromBytes(one, { shape: [2], dtype: 'bf16' })
    expect(await x.toArray()).toEqual([1, 2])
    expect(new Uint16Array(await x.bytes())).toEqual(one)
  })
})

test('shapes that do not fit', () => {
  expect(() => tensor([1, 2, 3], { shape: [2, 2] })).toThrow(ShapeError)
  expect(() => tensor([[1, 2], [3]])).toThrow(ShapeError)
  expect(() => zeros([2, -1])).toThrow(ShapeError)
  expect(() => zeros([1, 1, 1, 1, 1, 1, 1, 1, 1])).toThrow(/8 dimensions/)
  expect(() => fromBytes(new Uint8Array(3), { shape: [1], dtype: 'f32' })).toThrow(/needs 4 bytes/)
})

test('filled and counted tensors', async () => {
  expect(await zeros([2]).toArray()).toEqual([0, 0])
  expect(await ones([1, 2], { dtype: 'i64' }).toArray()).toEqual([[1, 1]])
  expect(await full([2], 2.5, { dtype: 'bf16' }).toArray()).toEqual([2.5, 2.5])
  expect(await arange(3).toArray()).toEqual([0, 1, 2])
  expect(await arange(1, 2, 0.25).toArray()).toEqual([1, 1.25, 1.5, 1.75])
  expect(await arange(3, 0, -1, { dtype: 'i64' }).toArray()).toEqual([3, 2, 1])
  expect(zerosLike(tensor([1n, 2n]))).toMatchObject({ dtype: 'i64', shape: [2] })
  expect(await zeros([0, 3]).toArray()).toEqual([])
})

test('the same seed gives the same numbers on every device', async () => {
  const draw = async (device: string) => {
    manualSeed(42)
    return [await randn([5], { device }).data(), await rand([5], { device }).data()]
  }
  expect(await draw(device)).toEqual(await draw(elsewhere))
  manualSeed(43)
  const numbers = (await randint(-2, 3, [200]).toArray()) as number[]
  expect(Math.min(...numbers)).toBe(-2)
  expect(Math.max(...numbers)).toBe(2)
})

test('numbers on either side', async () => {
  const x = tensor([1, 2, 4])
  expect(await x.add(1).toArray()).toEqual([2, 3, 5])
  expect(await F.sub(1, x).toArray()).toEqual([0, -1, -3])
  expect(await F.div(4, x).toArray()).toEqual([4, 2, 1])
  expect(await F.pow(2, x).toArray()).toEqual([2, 4, 16])
  expect(await x.gt(1).toArray()).toEqual([false, true, true])
  expect(await F.where(x.gt(1), x, 0).toArray()).toEqual([0, 2, 4])
  expect(await F.where(x.gt(1), -1, 1).toArray()).toEqual([1, -1, -1])
})

test('in place, with numbers and tensors', async () => {
  const x = tensor([1, 2])
  expect(
    x
      .add_(1)
      .mul_(2)
      .sub_(tensor([1, 1]))
      .div_(2),
  ).toBe(x)
  expect(await x.toArray()).toEqual([1.5, 2.5])
  expect(await x.copy_(tensor(7)).toArray()).toEqual([7, 7])
  expect(await x.zero_().fill_(3).toArray()).toEqual([3, 3])
})

test('to: dtype, device, both, nothing', async () => {
  const x = tensor([1.7, 2])
  expect(await x.to('i32').toArray()).toEqual([1, 2])
  const y = x.to({ device: elsewhere, dtype: 'f64' })
  expect(y).toMatchObject({ device: elsewhere, dtype: 'f64' })
  const same = x.to('f32')
  same.fill_(0)
  expect(await x.toArray()).toEqual([0, 0])
  // @ts-expect-error neither a dtype nor the name of a device
  expect(() => x.to('bf17')).toThrow(DeviceError)
  expect(() => tensor([1]).to({ dtype: 'f8' as DType })).toThrow(DtypeError)
})

test('handles move between objects', async () => {
  const x = tensor([1, 2])
  const y = Tensor.from(x.toHandle())
  x.dispose()
  expect(await y.toArray()).toEqual([1, 2])
})

test('text', async () => {
  const x = tensor([[1, 2.5]], { requiresGrad: true })
  expect(String(x)).toBe(`Tensor([1, 2], f32, ${device}, requiresGrad)`)
  expect(String(x.mul(2))).toContain('gradFn=mul_scalar')
  expect(await format(x)).toBe(`[[1, 2.5]]\nTensor([1, 2], f32, ${device}, requiresGrad)`)
  x.dispose()
  expect(String(x)).toBe('Tensor(disposed)')
})

test('the default device', () => {
  expect(unset).toBe(gpuCount() > 0 ? 'cuda:0' : 'host:0')
  setDefaultDevice(elsewhere)
  expect(zeros([1]).device).toBe(elsewhere)
  setDefaultDevice(device)
  expect(defaultDevice()).toBe(device)
})
