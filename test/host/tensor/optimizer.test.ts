// What optimizers refuse, and what their learning rates mean. The updates are compared in reference.test.ts.
import { expect, test } from 'vitest'
import { keep, nn, optim, scope, setDefaultDevice, tensor, UsageError, zeros } from 'weft'
import { device } from '../device.js'

setDefaultDevice(device)
const weight = () => nn.parameter(zeros([2]))
const rates = (optimizer: { groups: { options: { lr: number } }[] }) =>
  optimizer.groups.map((group) => group.options.lr)

test('setting lr keeps the ratios of all groups, also when the first rate is 0', () => {
  const groups = (...lrs: number[]) =>
    optim.sgd(
      lrs.map((lr) => ({ params: [weight()], options: { lr } })),
      { lr: 1 },
    )
  const frozenFirst = groups(0, 0.1, 0.2)
  expect(frozenFirst.lr).toBe(0.1)
  frozenFirst.lr = 0.05 // what a schedule does: base times a factor
  expect(rates(frozenFirst)).toEqual([0, 0.05, 0.1])
  frozenFirst.lr = 0
  expect(rates(frozenFirst)).toEqual([0, 0, 0])
  frozenFirst.lr = 0.1
  expect(rates(frozenFirst)).toEqual([0, 0.1, 0.2])

  const allZero = groups(0, 0)
  expect(allZero.lr).toBe(0)
  allZero.lr = 0.3
  expect(rates(allZero)).toEqual([0.3, 0.3])
})

test.each([Number.NaN, -1, Number.POSITIVE_INFINITY, '0.1' as unknown as number])(
  'lr %s is refused and the rate stays',
  (lr) => {
    const optimizer = optim.sgd([weight()], { lr: 0.5 })
    expect(() => {
      optimizer.lr = lr
    }).toThrow(UsageError)
    expect(optimizer.lr).toBe(0.5)
    expect(() => optim.sgd([weight()], { lr })).toThrow(/lr/)
  },
)

test.each([
  [{ betas: [2, -1] as [number, number] }, /betas/],
  [{ betas: [0.9, 1] as [number, number] }, /betas/],
  [{ betas: [0.9] as unknown as [number, number] }, /betas/],
  [{ eps: -1 }, /eps/],
  [{ eps: Number.NaN }, /eps/],
  [{ weightDecay: Number.NaN }, /weightDecay/],
  [{ weightDecay: -0.1 }, /weightDecay/],
])('adamw refuses %j', (options, pattern) => {
  expect(() => optim.adamw([weight()], { lr: 1, ...options })).toThrow(UsageError)
  expect(() => optim.adamw([weight()], { lr: 1, ...options })).toThrow(pattern)
  expect(() => optim.adamw([{ params: [weight()], options }], { lr: 1 })).toThrow(/group 0/)
})

test.each([
  [{ momentum: -0.1 }, /momentum/],
  [{ dampening: Number.NaN }, /dampening/],
  [{ weightDecay: Number.NEGATIVE_INFINITY }, /weightDecay/],
  [{ nesterov: true }, /nesterov/],
  [{ nesterov: true, momentum: 0.9, dampening: 0.1 }, /nesterov/],
])('sgd refuses %j', (options, pattern) => {
  expect(() => optim.sgd([weight()], { lr: 1, ...options })).toThrow(pattern)
})

test('an option of another name is refused, with the known ones', () => {
  const options = { lr: 1, weight_decay: 0.1 } as { lr: number }
  expect(() => optim.adamw([weight()], options)).toThrow(/weight_decay.*weightDecay/)
})

test('parameters are tensors, leaves, and each in one group', () => {
  const w = weight()
  expect(() => optim.sgd([], { lr: 1 })).toThrow(/at least one/)
  expect(() => optim.sgd([w, w], { lr: 1 })).toThrow(/twice/)
  expect(() => optim.sgd([[1]] as never, { lr: 1 })).toThrow(UsageError)
  expect(() => optim.sgd(w as never, { lr: 1 })).toThrow(/list/)
  expect(() => scope(() => optim.sgd([w.mul(2)], { lr: 1 }))).toThrow(/leaf/)
})

test('clipGradNorm takes gradients of what trains, and a positive norm', async () => {
  const [a, b] = [weight(), weight()]
  a.grad = keep(tensor([3, 4]))
  b.grad = keep(tensor([100, 100]))
  b.requiresGrad_(false)
  expect(await optim.clipGradNorm([a, b], 1).item()).toBe(5)
  expect(await b.grad!.toArray()).toEqual([100, 100])
  for (const norm of [0, -1, Number.NaN]) {
    expect(() => optim.clipGradNorm([a], norm)).toThrow(/maxNorm/)
  }
  a.zeroGrad()
  expect(await optim.clipGradNorm([a], 1).item()).toBe(0)
})

test('schedules refuse what gives no factor', () => {
  const { cosine, linear, step, warmup } = optim.schedule
  expect(() => cosine(0)).toThrow(UsageError)
  expect(() => cosine(10, Number.NaN)).toThrow(/floor/)
  expect(() => linear(10, -1)).toThrow(/floor/)
  expect(() => step(10, Number.NaN)).toThrow(/gamma/)
  expect(() => warmup(Number.NaN)).toThrow(/steps/)
  expect(() => warmup(10, 1 as never)).toThrow(/after/)
})
