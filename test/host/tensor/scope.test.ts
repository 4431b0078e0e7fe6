// Lifetimes: scope(), keep(), dispose(), using. Counts are the process's, so each test compares.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { beforeEach, expect, test, vi } from 'vitest'
import {
  DisposedError,
  keep,
  leaks,
  memory,
  noGrad,
  scope,
  setDebug,
  setDefaultDevice,
  type Tensor,
  tensor,
  UsageError,
  zeros,
} from 'weft'
import { device } from '../device.js'

setDefaultDevice(device)
const live = () => memory()[device]?.tensors ?? 0
let before = 0
beforeEach(() => {
  before = live()
})

test('frees everything but what is returned', async () => {
  const out = scope(() => {
    const a = zeros([10])
    const b = a.add(1)
    return { list: [b.mul(2)], map: new Map([['x', b]]), text: 'kept' }
  })
  expect(live()).toBe(before + 2)
  expect(await out.list[0]!.sum().item()).toBe(20)
  out.list[0]!.dispose()
  expect(out.map.get('x')!.shape).toEqual([10])
})

test('survivors of an inner scope end with the outer one', () => {
  let inner: Tensor | undefined
  scope(() => {
    inner = scope(() => zeros([1]).add(1))
    expect(inner.disposed).toBe(false)
  })
  expect(inner!.disposed).toBe(true)
  expect(live()).toBe(before)
})

test('keep takes a tensor out of all scopes', () => {
  let kept: Tensor | undefined
  scope(() => {
    scope(() => {
      kept = keep(zeros([2]))
    })
  })
  expect(kept!.disposed).toBe(false)
  kept!.dispose()
  expect(live()).toBe(before)
})

test('an exception frees everything too', () => {
  const broken = () =>
    scope(() => {
      zeros([1])
      throw new Error('mine')
    })
  expect(broken).toThrow('mine')
  expect(live()).toBe(before)
})

test('a promise is a UsageError, and frees', () => {
  const asynchronous = () => scope(async () => zeros([1]))
  expect(asynchronous).toThrow(UsageError)
  expect(asynchronous).toThrow(/synchronous/)
  expect(() => noGrad(async () => {})).toThrow(UsageError)
  expect(live()).toBe(before)
})

test('more tensors than one native call takes', () => {
  scope(() => {
    for (let i = 0; i < 3000; i++) zeros([1])
  })
  expect(live()).toBe(before)
})

test('using and dispose', () => {
  {
    using a = zeros([1])
    expect(a.disposed).toBe(false)
  }
  const b = zeros([1])
  b.dispose()
  b.dispose()
  expect(live()).toBe(before)
  expect(() => b.add(1)).toThrow(DisposedError)
  expect(() => b.shape).toThrow(DisposedError)
  expect(() => zeros([1]).add(b)).toThrow(DisposedError)
})

test('gradients end with their leaf', () => {
  scope(() => {
    const x = tensor([1, 2], { requiresGrad: true })
    x.mul(x).sum().backward()
    expect(x.grad).toBe(x.grad)
    expect(x.grad!.shape).toEqual([2])
  })
  expect(live()).toBe(before)
})

test('debug mode tells where a disposed tensor was made', () => {
  setDebug(true)
  const x = zeros([1])
  setDebug(false)
  x.dispose()
  expect(() => x.add(1)).toThrow(/scope\.test/)
  expect(leaks()).toEqual([])
})

test('debug mode reports tensors that were collected without dispose', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  setDebug(true)
  ;(() => zeros([5]).shape)()
  setDebug(false)
  for (let i = 0; i < 20 && leaks().length === 0; i++) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  expect(leaks()).toHaveLength(1)
  expect(leaks()[0]).toContain('scope.test')
  expect(warned).toHaveBeenCalledOnce()
  expect(live()).toBe(before)
})

test('tensors in instances of classes survive, however deep; getters are not called', () => {
  class Node {
    next: Node | undefined
    constructor(readonly value: Tensor) {}
    get costly(): never {
      throw new Error('called')
    }
  }
  const list = scope(() => {
    let head: Node | undefined
    for (let i = 0; i < 20_000; i++) {
      const node = new Node(i % 1000 === 0 ? zeros([1]) : head!.value)
      node.next = head
      head = node
    }
    Object.defineProperty(head, 'own', { enumerable: true, get: () => head!.costly })
    zeros([1]) // not returned
    return { head, frozen: Object.freeze([head]) }
  })
  expect(live()).toBe(before + 20)
  for (let node = list.head; node; node = node.next) node.value.dispose()
  expect(live()).toBe(before)
})

test('keys of a returned Map survive too', () => {
  const map = scope(() => new Map([[zeros([1]), 'zero']]))
  expect([...map.keys()][0]!.disposed).toBe(false)
  for (const tensor of map.keys()) tensor.dispose()
})
