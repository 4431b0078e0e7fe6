// Loss scaling: gradients come back unscaled, an overflow leaves a step out on the device, the scale falls and grows
// as torch.amp.GradScaler's does, eager and captured.
import { describe, expect, test } from 'vitest'
import {
  CheckpointError,
  captureGraph,
  noGrad,
  optim,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
  UsageError,
} from 'weft'
import { device, onGpu } from '../device.js'

setDefaultDevice(device)

const optimizers = {
  sgd: (p: Tensor[]) => optim.sgd(p, { lr: 0.1 }),
  momentum: (p: Tensor[]) => optim.sgd(p, { lr: 0.1, momentum: 0.9, weightDecay: 0.01 }),
  adamw: (p: Tensor[]) => optim.adamw(p, { lr: 0.1 }),
}
const leaf = (values: number[]) => tensor(values, { requiresGrad: true })
const read = async (t: Tensor) => Array.from(await t.data(), Number)

/** One step whose gradient is `slopes`. */
function step(scaler: optim.GradScaler, optimizer: optim.SGD | optim.AdamW, w: Tensor, by: Tensor) {
  optimizer.zeroGrad()
  scope(() => scaler.scale(w.mul(by).sum()).backward())
  scaler.step(optimizer)
  scaler.update()
}

function plainStep(optimizer: optim.SGD | optim.AdamW, w: Tensor, by: Tensor) {
  optimizer.zeroGrad()
  scope(() => w.mul(by).sum().backward())
  optimizer.step()
}

const slopes = [0.5, -3, 1e-7]
const overflow = [0.5, Number.POSITIVE_INFINITY, 1]

/** Equal bits on the host; on a GPU powers are computed there, so to rounding. */
function expectSame(a: number[], b: number[]) {
  if (!onGpu) expect(a).toEqual(b)
  else for (const [i, value] of a.entries()) expect(value).toBeCloseTo(b[i]!, 6)
}

describe.each(Object.keys(optimizers) as (keyof typeof optimizers)[])('%s', (name) => {
  test('steps under a scale are the steps without', async () => {
    const [w, plain] = [leaf([1, 2, 3]), leaf([1, 2, 3])]
    const [scaled, other] = [optimizers[name]([w]), optimizers[name]([plain])]
    const scaler = new optim.GradScaler()
    for (let i = 0; i < 4; i++) {
      step(scaler, scaled, w, tensor(slopes))
      plainStep(other, plain, tensor(slopes))
    }
    expectSame(await read(w), await read(plain))
    expect([await scaler.getScale(), await scaler.skippedSteps()]).toEqual([65536, 0])
  })

  test.each([
    ['infinity', overflow],
    ['NaN', [Number.NaN, 1, 1]],
  ])('a gradient with %s changes neither weights nor state, and does not count', async (_, bad) => {
    const [w, plain] = [leaf([1, 2, 3]), leaf([1, 2, 3])]
    const [scaled, other] = [optimizers[name]([w]), optimizers[name]([plain])]
    const scaler = new optim.GradScaler()
    for (const by of [bad, slopes, bad, bad, slopes]) step(scaler, scaled, w, tensor(by))
    plainStep(other, plain, tensor(slopes))
    plainStep(other, plain, tensor(slopes))
    expectSame(await read(w), await read(plain))
    const [mine, theirs] = [scaled.stateDict().tensors, other.stateDict().tensors]
    for (const key of Object.keys(theirs)) {
      expectSame(await read(mine[key]!), await read(theirs[key]!))
    }
    expect([await scaler.getScale(), await scaler.skippedSteps()]).toEqual([65536 / 8, 3])
  })

  test('captured steps skip, count and scale as eager ones do', async () => {
    const run = async (captured: boolean) => {
      const w = leaf([1, 2, 3])
      const by = tensor(slopes)
      const optimizer = optimizers[name]([w])
      const scaler = new optim.GradScaler({ growthInterval: 2 })
      const whole = () => step(scaler, optimizer, w, by)
      whole()
      const graph = captured ? captureGraph(whole) : undefined
      for (const [i, next] of [slopes, overflow, slopes, slopes, overflow, slopes].entries()) {
        optimizer.lr = 0.1 / (i + 1)
        noGrad(() => scope(() => void by.copy_(tensor(next))))
        graph ? graph.replay() : whole()
      }
      const values = [await read(w), [await scaler.getScale(), await scaler.skippedSteps()]]
      graph?.dispose()
      return values
    }
    const [eager, replayed] = [await run(false), await run(true)]
    expect(replayed).toEqual(eager)
    // Grown at 2 and 5 steps without overflow, halved twice.
    expect(eager[1]).toEqual([65536, 2])
  })
})

test('the scale grows after the interval, never to infinity', async () => {
  const w = leaf([1])
  const scaler = new optim.GradScaler({ initScale: 2 ** 126, growthFactor: 4, growthInterval: 3 })
  const optimizer = optim.sgd([w], { lr: 0 })
  const seen: number[] = []
  for (let i = 0; i < 7; i++) {
    step(scaler, optimizer, w, tensor([0]))
    seen.push(Math.log2(await scaler.getScale()))
  }
  expect(seen).toEqual(Array(7).fill(126))
  const small = new optim.GradScaler({ initScale: 8, growthInterval: 3 })
  const grown: number[] = []
  for (let i = 0; i < 7; i++) {
    step(small, optimizer, w, tensor([0]))
    grown.push(await small.getScale())
  }
  expect(grown).toEqual([8, 8, 16, 16, 16, 32, 32])
})

test('unscale_ gives the gradients before the step, so that they can be clipped', async () => {
  const w = leaf([1, 1])
  const optimizer = optim.sgd([w], { lr: 1 })
  const scaler = new optim.GradScaler()
  scaler.scale(w.mul(tensor([3, 4])).sum()).backward()
  expect(await read(w.grad!)).toEqual([3 * 65536, 4 * 65536])
  scaler.unscale_(optimizer)
  expect(await read(w.grad!)).toEqual([3, 4])
  expect(await optim.clipGradNorm([w], 1).item()).toBe(5)
  scaler.step(optimizer)
  scaler.update()
  const [a, b] = await read(w)
  expect(a).toBeCloseTo(1 - 0.6, 5)
  expect(b).toBeCloseTo(1 - 0.8, 5)
})

test('an overflow of one of two optimizers leaves only its step out and lowers the scale', async () => {
  const [a, b] = [leaf([1]), leaf([1])]
  const [first, second] = [optim.sgd([a], { lr: 1 }), optim.sgd([b], { lr: 1 })]
  const scaler = new optim.GradScaler()
  const loss = a.mul(Number.POSITIVE_INFINITY).add(b.mul(0.5)).sum()
  scaler.scale(loss).backward()
  for (const optimizer of [first, second]) scaler.step(optimizer)
  scaler.update()
  expect([await a.item(), await b.item(), await scaler.getScale()]).toEqual([1, 0.5, 32768])
})

test('its state goes to another one, and that of other optimizers is refused', async () => {
  const w = leaf([1])
  const optimizer = optim.sgd([w], { lr: 0 })
  const [from, to] = [new optim.GradScaler(), new optim.GradScaler()]
  step(from, optimizer, w, tensor([Number.NaN]))
  to.loadStateDict(from.stateDict(), [optimizer])
  expect([await to.getScale(), await to.skippedSteps()]).toEqual([32768, 1])
  expect(() => to.loadStateDict({ scaler: from.stateDict().scaler! }, [optimizer])).toThrow(
    CheckpointError,
  )
})

test('what it refuses', () => {
  const w = leaf([1])
  const optimizer = optim.sgd([w], { lr: 1 })
  const scaler = new optim.GradScaler()
  w.sum().backward()
  scaler.unscale_(optimizer)
  expect(() => scaler.unscale_(optimizer)).toThrow(/unscale_: this optimizer is unscaled/)
  scaler.step(optimizer)
  expect(() => scaler.step(optimizer)).toThrow(UsageError)
  scaler.update()
  const dampened = optim.sgd([w], { lr: 1, momentum: 0.9, dampening: 0.1 })
  expect(() => scaler.step(dampened)).toThrow(/dampening/)
  expect(() => captureGraph(() => scaler.step(optim.sgd([w], { lr: 1 })))).toThrow(
    /before the capture/,
  )
  for (const wrong of [
    { initScale: 0 },
    { growthFactor: 1 },
    { backoffFactor: 1 },
    { growthInterval: 0 },
    { scale: 2 },
  ]) {
    expect(() => new optim.GradScaler(wrong as object)).toThrow(UsageError)
  }
  class Plain extends optim.Optimizer {
    protected override update() {}
    override stateDict() {
      return { kind: 'plain', steps: this.steps, counts: {}, tensors: {} }
    }
    override loadStateDict() {}
    override dispose() {}
  }
  expect(() => scaler.step(new Plain([w], { lr: 1 }))).toThrow(/cannot leave a step out/)
})
