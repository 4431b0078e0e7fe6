// What optimizers refuse, and what their learning rates mean. The updates are compared in reference.test.ts.
import { expect, test } from 'vitest'
import {
  keep,
  nn,
  noGrad,
  optim,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
  UsageError,
  zeros,
} from 'weft'
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

const makers = {
  adamw: (params: Tensor[]) => optim.adamw(params, { lr: 0.1 }),
  sgd: (params: Tensor[]) => optim.sgd(params, { lr: 0.1, momentum: 0.9 }),
}

test.each(Object.entries(makers))(
  '%s goes on bit for bit where its state was loaded',
  async (kind, make) => {
    const run = async (
      from: number,
      to: number,
      a: Tensor,
      b: Tensor,
      optimizer = make([a, b]),
    ) => {
      for (let step = from; step < to; step++) {
        a.grad = keep(tensor([step + 1, -0.3 * step]))
        // The second parameter skips a step, so that the two have counts of their own.
        if (step === 1) b.grad = null
        else b.grad = keep(tensor([0.1 * step, 2]))
        optimizer.step()
      }
      return optimizer
    }
    const whole = [weight(), weight()] as const
    await run(0, 6, ...whole)
    const [a, b] = [weight(), weight()]
    const first = await run(0, 3, a, b)
    const [c, d] = [weight(), weight()]
    noGrad(() => [c.copy_(a), d.copy_(b)])
    const state = first.stateDict()
    expect(state).toMatchObject({ kind, steps: 3 })
    const second = make([c, d])
    second.loadStateDict(state)
    first.dispose() // what was loaded is the second one's own
    await run(3, 6, c, d, second)
    expect(await c.toArray()).toEqual(await whole[0].toArray())
    expect(await d.toArray()).toEqual(await whole[1].toArray())
  },
)

test('a state that does not fit is refused and changes nothing', async () => {
  const w = weight()
  const optimizer = optim.adamw([w], { lr: 0.1 })
  w.grad = keep(tensor([1, 2]))
  optimizer.step()
  const state = optimizer.stateDict()
  const before = await state.tensors['0.0.first']!.toArray()
  const wrong: [object, RegExp][] = [
    [{ ...state, kind: 'sgd' }, /of sgd, the optimizer is adamw/],
    [{ ...state, steps: -1 }, /steps/],
    [{ ...state, counts: {} }, /0\.0 lacks steps/],
    [{ ...state, counts: { '0.0.steps': 0.5 } }, /0\.0\.steps/],
    [{ ...state, tensors: { ...state.tensors, '0.1.first': zeros([2]) } }, /no state 0\.1\.first/],
    [{ ...state, tensors: { ...state.tensors, '0.0.third': zeros([2]) } }, /0\.0\.third/],
    [{ ...state, tensors: { ...state.tensors, '0.0.first': zeros([3]) } }, /\[3\].*\[2\]/],
    [{ ...state, tensors: { ...state.tensors, '0.0.first': [1] } }, /must be a Tensor/],
  ]
  for (const [bad, pattern] of wrong) {
    expect(() => optimizer.loadStateDict(bad as never)).toThrow(pattern)
  }
  expect(await optimizer.stateDict().tensors['0.0.first']!.toArray()).toEqual(before)
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
