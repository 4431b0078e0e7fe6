// Views share memory; their shapes, strides and errors.
import { expect, test } from 'vitest'
import { arange, functional as F, ShapeError, setDefaultDevice, type Tensor, tensor } from 'weft'
import { device } from '../device.js'

setDefaultDevice(device)
const grid = () => arange(6).reshape([2, 3])

test.each<[string, (x: Tensor) => Tensor, number[], unknown]>([
  [
    'transpose',
    (x) => x.transpose(0, 1),
    [3, 2],
    [
      [0, 3],
      [1, 4],
      [2, 5],
    ],
  ],
  [
    't',
    (x) => x.t(),
    [3, 2],
    [
      [0, 3],
      [1, 4],
      [2, 5],
    ],
  ],
  [
    'permute',
    (x) => x.permute([1, 0]),
    [3, 2],
    [
      [0, 3],
      [1, 4],
      [2, 5],
    ],
  ],
  ['select', (x) => x.select(1, -1), [2], [2, 5]],
  [
    'narrow',
    (x) => x.narrow(1, 1, 2),
    [2, 2],
    [
      [1, 2],
      [4, 5],
    ],
  ],
  [
    'slice',
    (x) => x.slice(1, 0, undefined, 2),
    [2, 2],
    [
      [0, 2],
      [3, 5],
    ],
  ],
  [
    'slice to a negative stop',
    (x) => x.slice(1, 0, -1),
    [2, 2],
    [
      [0, 1],
      [3, 4],
    ],
  ],
  [
    'view',
    (x) => x.view([3, -1]),
    [3, 2],
    [
      [0, 1],
      [2, 3],
      [4, 5],
    ],
  ],
  ['flatten', (x) => x.flatten(), [6], [0, 1, 2, 3, 4, 5]],
  ['unsqueeze', (x) => x.select(0, 0).unsqueeze(-1), [3, 1], [[0], [1], [2]]],
  [
    'expand',
    (x) => x.narrow(0, 0, 1).expand([2, -1]),
    [2, 3],
    [
      [0, 1, 2],
      [0, 1, 2],
    ],
  ],
  ['squeeze', (x) => x.narrow(0, 1, 1).squeeze(), [3], [3, 4, 5]],
])('%s', async (_, make, shape, values) => {
  const x = grid()
  const view = make(x)
  expect(view.shape).toEqual(shape)
  expect(await view.toArray()).toEqual(values)
  x.fill_(9) // a view sees it
  expect(Array.from(await view.data(), Number).every((v) => v === 9)).toBe(true)
})

test('reshape copies only where it must', async () => {
  const x = grid()
  const copied = x.t().reshape([6])
  x.zero_()
  expect(await copied.toArray()).toEqual([0, 3, 1, 4, 2, 5])
  expect(x.t().isContiguous).toBe(false)
  expect(x.t().contiguous().isContiguous).toBe(true)
})

test('gather, cat and stack', async () => {
  const x = grid()
  const index = tensor([
    [2n, 0n],
    [1n, 1n],
  ])
  expect(await x.gather(1, index).toArray()).toEqual([
    [2, 0],
    [4, 4],
  ])
  expect(await F.cat([x, x], 1).select(0, 0).toArray()).toEqual([0, 1, 2, 0, 1, 2])
  expect(F.stack([x, x], 1).shape).toEqual([2, 2, 3])
})

test('dimensions that are not there', () => {
  const x = grid()
  expect(() => x.transpose(0, 2)).toThrow(ShapeError)
  expect(() => x.select(0, 2)).toThrow(ShapeError)
  expect(() => x.t().view([6])).toThrow(ShapeError)
  expect(() => x.size(5)).toThrow(ShapeError)
  expect(() => x.flatten(1, 0)).toThrow(ShapeError)
  expect(() => x.reshape([4, -1])).toThrow(ShapeError)
  expect(() => F.cat([x, x.t()])).toThrow(ShapeError)
  expect(x.size(-1)).toBe(3)
})

test('unbind and split: every part of a dimension, and gradients of the parts that were used', async () => {
  const x = grid()
  expect(await Promise.all(x.unbind(1).map((part) => part.toArray()))).toEqual([
    [0, 3],
    [1, 4],
    [2, 5],
  ])
  const parts = x.split(2, -1)
  expect(parts.map((part) => part.shape)).toEqual([
    [2, 2],
    [2, 1],
  ])
  parts[1]?.zero_() // a view of x
  expect(await x.toArray()).toEqual([
    [0, 1, 0],
    [3, 4, 0],
  ])
  const w = grid().requiresGrad_()
  const [, second, third] = w.unbind(1) as [Tensor, Tensor, Tensor]
  second.mul(third).sum().backward()
  expect(await w.grad?.toArray()).toEqual([
    [0, 2, 1],
    [0, 5, 4],
  ])
  const [left] = w.split(1, 0) as [Tensor]
  w.zeroGrad()
  left.pow(2).sum().backward()
  expect(await w.grad?.toArray()).toEqual([
    [0, 2, 4],
    [0, 0, 0],
  ])
  expect(() => x.split(0)).toThrow(/size is 0 and counts from 1/)
  expect(() => x.unbind(2)).toThrow(ShapeError)
  expect(() => tensor(1).unbind()).toThrow(ShapeError)
})
