// Gradients from JavaScript: leaves, hooks, several roots, switches and their errors. Formulas are
// tested in reference.test.ts and in C++.
import { expect, test } from 'vitest'
import {
  backward,
  DeviceError,
  DtypeError,
  enableGrad,
  gradEnabled,
  noGrad,
  ones,
  openFabric,
  ShapeError,
  setDefaultDevice,
  tensor,
  UsageError,
} from 'weft'
import { device, elsewhere, several } from '../device.js'

setDefaultDevice(device)

test('gradients add up until they are zeroed', async () => {
  const x = tensor([1, 2], { requiresGrad: true })
  x.mul(3).sum().backward()
  x.mul(4).sum().backward()
  expect(await x.grad!.toArray()).toEqual([7, 7])
  x.zeroGrad(true)
  expect(await x.grad!.toArray()).toEqual([0, 0])
  x.zeroGrad()
  expect(x.grad).toBeNull()
})

test('a gradient argument, and several roots', async () => {
  const x = tensor([1, 2], { requiresGrad: true })
  const y = x.mul(x)
  y.backward(tensor([1, 10]), { retainGraph: true })
  expect(await x.grad!.toArray()).toEqual([2, 40])
  x.grad = null
  backward([y, x.mul(5)], [ones([2]), tensor([1, 0])])
  expect(await x.grad!.toArray()).toEqual([7, 4])
  expect(() => y.backward(ones([2]))).toThrow(/retainGraph/)
  expect(() => backward([x], [])).toThrow(UsageError)
})

test('leaves and history', () => {
  const x = tensor([1], { requiresGrad: true })
  const y = x.mul(2)
  expect([x.isLeaf, y.isLeaf, x.gradFn, y.gradFn]).toEqual([true, false, undefined, 'mul_scalar'])
  expect([x.requiresGrad, y.requiresGrad, y.detach().requiresGrad]).toEqual([true, true, false])
  expect(noGrad(() => x.mul(2).requiresGrad)).toBe(false)
  expect(noGrad(() => enableGrad(() => [gradEnabled(), x.mul(2).requiresGrad]))).toEqual([
    true,
    true,
  ])
  expect(gradEnabled()).toBe(true)
  expect(() => y.requiresGrad_(false)).toThrow(UsageError)
  expect(() => tensor([1n]).requiresGrad_()).toThrow(DtypeError)
})

test('what backward refuses', async () => {
  await openFabric(several(2))
  const x = tensor([1, 2], { requiresGrad: true })
  expect(() => x.detach().sum().backward()).toThrow(/does not require/)
  expect(() => x.mul(2).backward()).toThrow(/gradient argument/)
  expect(() => x.mul(2).backward(ones([3]))).toThrow(ShapeError)
  expect(() => x.mul(2).backward(ones([2], { device: elsewhere }))).toThrow(DeviceError)
  expect(() => x.add_(1)).toThrow(/noGrad/)
  noGrad(() => x.add_(1))
  const y = x.exp()
  noGrad(() => y.mul_(2))
  expect(() => y.sum().backward()).toThrow(/changed in place/)
})

test('setting a gradient checks it', async () => {
  const x = tensor([1, 2], { requiresGrad: true })
  x.grad = tensor([5, 6])
  expect(await x.grad!.toArray()).toEqual([5, 6])
  expect(() => {
    x.grad = tensor([1])
  }).toThrow(ShapeError)
  expect(() => {
    x.grad = tensor([1, 2], { dtype: 'f64' })
  }).toThrow(DtypeError)
})

test('hooks see, replace and stop', async () => {
  const x = tensor([1, 2], { requiresGrad: true })
  const seen: string[] = []
  const y = x.mul(2)
  y.registerHook((grad) => grad.mul(10))
  x.registerHook((grad) => {
    seen.push(`x ${grad.shape}`)
  })
  const remove = x.registerLeafHook(() => seen.push('leaf'))
  y.sum().backward()
  expect(await x.grad!.toArray()).toEqual([20, 20])
  expect(seen).toEqual(['x 2', 'leaf'])
  remove()
  x.sum().backward()
  expect(seen).toEqual(['x 2', 'leaf', 'x 2'])
})

test('a hook may return a tensor that lives on', async () => {
  const x = tensor([1, 2], { requiresGrad: true })
  const fixed = tensor([3, 4])
  x.registerHook(() => fixed)
  x.sum().backward()
  expect(await x.grad!.toArray()).toEqual([3, 4])
  expect(fixed.disposed).toBe(false)
})

test('what a hook throws reaches the caller of backward as it is', () => {
  const x = tensor([1], { requiresGrad: true })
  const mine = new RangeError('from the hook')
  x.registerHook(() => {
    throw mine
  })
  let caught: unknown
  try {
    x.mul(2).backward()
  } catch (error) {
    caught = error
  }
  expect(caught).toBe(mine)
})

test('a graph over two devices, hooks on the calling thread', async () => {
  await openFabric(several(2))
  const x = tensor([1, 2], { requiresGrad: true, device })
  let calls = 0
  x.registerHook(() => {
    calls++
  })
  const far = x.mul(3).to({ device: elsewhere }).mul(2)
  expect(far.device).toBe(elsewhere)
  far.sum().backward()
  expect(await x.grad!.toArray()).toEqual([6, 6])
  expect(calls).toBe(1)
})
