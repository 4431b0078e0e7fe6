// What enters a tensor is what was given, or a named error: numbers that a dtype cannot hold, wrong arguments.
import { describe, expect, test } from 'vitest'
import {
  arange,
  type DType,
  DtypeError,
  functional as F,
  full,
  manualSeed,
  ones,
  rand,
  randint,
  ShapeError,
  setDefaultDevice,
  tensor,
  UsageError,
  WeftError,
  zeros,
} from 'weft'
import { device, onGpu } from '../device.js'

setDefaultDevice(device)

describe('typed arrays that are no dtype take one that holds all their values', () => {
  test.each([
    [new Uint32Array([4e9]), 'i64', [4e9]],
    [new Uint16Array([65535]), 'i32', [65535]],
    [new Int8Array([-128]), 'i32', [-128]],
    [new BigUint64Array([2n ** 40n]), 'i64', [2 ** 40]],
  ])('case %#', async (array, dtype, values) => {
    const t = tensor(array)
    expect(t.dtype).toBe(dtype)
    expect(await t.toArray()).toEqual(values)
  })
})

describe('an integer dtype refuses what it cannot hold, naming the first bad element', () => {
  test.each([
    [[1, 2 ** 40], 'i32', /element \[1\] is 1099511627776: i32 .*2147483647/],
    [
      [
        [1, 2],
        [300, -1],
      ],
      'u8',
      /element \[1\]\[0\] is 300: u8 .*0 to 255/,
    ],
    [[1.5], 'i32', /element \[0\] is 1.5/],
    [[Number.NaN], 'u8', /element \[0\] is NaN/],
    [-1, 'u8', /the value is -1/],
    [[2n ** 63n], 'i64', /element \[0\] is 9223372036854775808/],
    [[2 ** 63], 'i64', /element \[0\]/],
    [new Float32Array([0, 3e9]), 'i32', /element \[1\] is 3000000000/],
    [new Int32Array([256]), 'u8', /element \[0\] is 256/],
    [new BigInt64Array([2n ** 31n]), 'i32', /element \[0\] is 2147483648/],
    [new BigUint64Array([2n ** 63n]), undefined, /element \[0\] is 9223372036854775808/],
  ] as const)('case %#', (values, dtype, pattern) => {
    const make = () => tensor(values, dtype === undefined ? {} : { dtype })
    expect(make).toThrow(DtypeError)
    expect(make).toThrow(pattern)
  })

  test('the error carries index, value and dtype', () => {
    expect(() => tensor([7, 8, 256], { dtype: 'u8' })).toThrow(
      expect.objectContaining({ fields: { index: 2, value: '256', dtype: 'u8' } }),
    )
  })

  test('in full, fill_, arange and randint too', () => {
    expect(() => full([2], 300, { dtype: 'u8' })).toThrow(/value is 300: u8/)
    expect(() => zeros([2], { dtype: 'i32' }).fill_(2 ** 31)).toThrow(/i32/)
    expect(() => arange(0, 300, { dtype: 'u8' })).toThrow(/last .*299: u8/)
    expect(() => arange(-3, 0, { dtype: 'u8' })).toThrow(/start is -3: u8/)
    expect(() => randint(0, 300, [4], { dtype: 'u8' })).toThrow(/u8/)
  })
})

test('what fits goes in unchanged', async () => {
  expect(await tensor([0, 255], { dtype: 'u8' }).toArray()).toEqual([0, 255])
  expect(await tensor(new Float64Array([-5, 7]), { dtype: 'i32' }).toArray()).toEqual([-5, 7])
  const ends = [-(2n ** 63n), 2n ** 63n - 1n]
  expect([...(await tensor(ends).data())]).toEqual(ends)
  expect(await tensor(new Int32Array([-1, 5]), { dtype: 'i64' }).toArray()).toEqual([-1, 5])
  expect(await tensor([2, 0, Number.NaN], { dtype: 'bool' }).toArray()).toEqual([true, false, true])
  expect(await tensor(new Uint32Array([7]), { dtype: 'bf16' }).toArray()).toEqual([7])
  expect(await tensor(new Uint8Array([200]), { dtype: 'i32' }).toArray()).toEqual([200])
  expect(await tensor([1e300]).item()).toBe(Number.POSITIVE_INFINITY)
  expect(await full([1], 255, { dtype: 'u8' }).item()).toBe(255)
  expect(await arange(250, 256, { dtype: 'u8' }).max().item()).toBe(255)
})

describe('a wrong argument is a weft error that says what it was', () => {
  const x = ones([2, 3])
  const wrong = (value: unknown) => value as never
  test.each<[string, () => unknown, RegExp]>([
    ["add('3')", () => x.add(wrong('3')), /Tensor.*'3'|"3"/],
    ['add(undefined)', () => x.add(wrong(undefined)), /Tensor.*undefined/],
    ['add(null)', () => x.add(wrong(null)), /Tensor.*null/],
    ['add_({})', () => x.add_(wrong({})), /Tensor.*object/],
    ['matmul(3)', () => x.matmul(wrong(3)), /Tensor.*3/],
    ['F.add(undefined, 1)', () => F.add(wrong(undefined), 1), /Tensor.*undefined/],
    ['F.where(x, 1)', () => F.where(x, 1, wrong(undefined)), /Tensor.*undefined/],
    ['F.cat([x, 3])', () => F.cat([x, wrong(3)]), /Tensor.*3/],
    ['F.cat(x)', () => F.cat(wrong(x)), /list/],
    ['F.linear(x)', () => F.linear(x, wrong(undefined)), /Tensor.*undefined/],
    ['copy_([1])', () => x.copy_(wrong([1])), /Tensor/],
    ["fill_('a')", () => x.fill_(wrong('a')), /number.*a/],
    ['to()', () => x.to(wrong(undefined)), /dtype, a device/],
    ["to('bf17')", () => x.to(wrong('bf17')), /bf17/],
    ['manualSeed(1.5)', () => manualSeed(1.5), /seed.*1\.5/],
    ["manualSeed('a')", () => manualSeed(wrong('a')), /seed.*a/],
    ['zeros([2.5])', () => zeros([2.5]), /2\.5/],
    ["zeros(['2'])", () => zeros([wrong('2')]), /whole number.*2/],
    ['zeros(3)', () => zeros(wrong(3)), /list.*3/],
    ['zeros()', () => zeros(wrong(undefined)), /list.*undefined/],
    ['view(6)', () => x.view(wrong(6)), /list.*6/],
    ['view([1.5, 4])', () => x.view([1.5, 4]), /1\.5/],
    ["sum('0')", () => x.sum(wrong('0')), /whole number|list/],
    ["clamp('a', 'b')", () => x.clamp(wrong('a'), wrong('b')), /number.*a/],
    ["full([2], 'a')", () => full([2], wrong('a')), /number.*a/],
    ['rand low', () => rand([2], { low: wrong('a') }), /number.*a/],
    ['rand NaN', () => rand([2], { low: Number.NaN }), /low/],
    ['tensor(DataView)', () => tensor(wrong(new DataView(new ArrayBuffer(4)))), /typed array/],
    ['tensor({})', () => tensor(wrong({})), /number is expected/],
    ['dtype', () => zeros([1], { dtype: 'f33' as DType }), /f33/],
    ['device: 3', () => zeros([1], { device: wrong(3) }), /device.*3/],
    ['arange()', () => arange(wrong(undefined)), /stop undefined/],
  ])('%s', (_name, call, pattern) => {
    expect(call).toThrow(WeftError)
    expect(call).toThrow(pattern)
    expect(call).not.toThrow(/nan is not a valid argument/)
  })

  test('shapes: ShapeError; arguments: UsageError', () => {
    expect(() => zeros([2.5])).toThrow(UsageError)
    expect(() => zeros([-1])).toThrow(ShapeError)
    expect(() => x.add(wrong('3'))).toThrow(UsageError)
  })
})

describe('scaledDotProductAttention takes any leading dimensions', () => {
  test.each([[[]], [[3]], [[2, 3]], [[2, 1, 3]]])('%j', async (leading) => {
    const make = (length: number) => rand([...leading, length, 4], { requiresGrad: true })
    const [q, k, v] = [make(5), make(6), make(6)]
    const got = F.scaledDotProductAttention(q, k, v)
    expect(got.shape).toEqual([...leading, 5, 4])
    const scores = q.matmul(k.transpose(-2, -1)).mul(0.5).softmax(-1).matmul(v)
    // TF32 keeps 10 bits of each factor.
    expect(await got.sub(scores).abs().max().item()).toBeLessThan(onGpu ? 1e-3 : 1e-6)
    got.sum().backward()
    expect(k.grad!.shape).toEqual(k.shape)
  })

  test('leading dimensions that differ are a ShapeError', () => {
    const call = () => F.scaledDotProductAttention(ones([2, 3, 4]), ones([3, 4]), ones([2, 3, 4]))
    expect(call).toThrow(ShapeError)
    expect(call).toThrow(/leading/)
  })
})

test('variance has one name', () => {
  const x = tensor([1, 2, 3])
  expect(x.variance).toBeTypeOf('function')
  expect(F.variance).toBeTypeOf('function')
  expect('var' in x).toBe(false)
})
