// Activation checkpointing: the bits of gradients are those without it, dropout included; memory falls; captured
// steps, autocast, several devices, hooks; what goes wrong is said.
import { describe, expect, test } from 'vitest'
import {
  autocast,
  captureGraph,
  checkpoint,
  functional as F,
  generatorState,
  manualSeed,
  memory,
  nn,
  noGrad,
  ones,
  openFabric,
  optim,
  randn,
  releaseCached,
  scope,
  setDefaultDevice,
  synchronize,
  type Tensor,
  tensor,
  UsageError,
} from 'weft'
import { device, elsewhere, several } from '../device.js'

setDefaultDevice(device)

type Run = <T>(fn: () => T) => T
const plainly: Run = (fn) => fn()
const again: Run = (fn) => checkpoint(fn)

/** A transformer block with everything that keeps something for its gradient. */
class Block extends nn.Module {
  norm = new nn.LayerNorm(16)
  attention = new nn.MultiHeadAttention(16, 2, { causal: true })
  second = new nn.RMSNorm(16)
  up = new nn.Linear(16, 64, { gelu: true })
  down = new nn.Linear(64, 16)
  dropout = new nn.Dropout(0.3)

  forward(x: Tensor): Tensor {
    const a = x.add(this.dropout.forward(this.attention.forward(this.norm.forward(x))))
    const hidden = this.dropout.forward(this.up.forward(this.second.forward(a)).tanh())
    return a.add(this.down.forward(hidden).softmax().mul(a))
  }
}

function model(): { blocks: Block[]; parameters: Tensor[] } {
  manualSeed(3)
  const blocks = [new Block(), new Block(), new Block()]
  return { blocks, parameters: blocks.flatMap((block) => block.parameters()) }
}

/** Loss and gradients of a step, as numbers. */
async function step(run: Run, wrap: Run = plainly) {
  const { blocks, parameters } = model()
  const input = randn([2, 5, 16]).requiresGrad_()
  manualSeed(11)
  const loss = scope(() => {
    const total = wrap(() => {
      let x: Tensor = input
      for (const block of blocks) {
        const from = x
        x = run(() => block.forward(from))
      }
      return x.mul(x).sum()
    })
    total.backward()
    return total
  })
  const all = [loss, input.grad!, ...parameters.map((p) => p.grad!)]
  return { values: await Promise.all(all.map((t) => t.data())), draws: generatorState(device) }
}

describe('the bits of gradients are those without a checkpoint', () => {
  test('with dropout, which draws the same again and leaves the generator where it was', async () => {
    const [plain, kept] = [await step(plainly), await step(again)]
    expect(kept.values).toEqual(plain.values)
    expect(kept.draws).toEqual(plain.draws)
  })

  test('in autocast, with the backward pass outside of the region', async () => {
    for (const low of ['bf16', 'f16'] as const) {
      const wrap: Run = (fn) => autocast(low, fn)
      expect((await step(again, wrap)).values).toEqual((await step(plainly, wrap)).values)
    }
  })

  test('one around all, and one in another', async () => {
    const plain = await step(plainly)
    expect((await step(plainly, again)).values).toEqual(plain.values)
    expect((await step(again, again)).values).toEqual(plain.values)
  })

  test('in captured steps, whose replays draw anew as eager steps do', async () => {
    const train = async (run: Run, captured: boolean) => {
      const { blocks, parameters } = model()
      const optimizer = optim.adamw(parameters, { lr: 0.01 })
      const input = randn([2, 5, 16])
      const once = () => {
        let x = input
        for (const block of blocks) {
          const from = x
          x = run(() => block.forward(from))
        }
        x.mul(x).sum().backward()
        optimizer.step()
        for (const p of parameters) p.zeroGrad(true)
      }
      manualSeed(4)
      scope(once)
      const graph = captured ? captureGraph(once) : undefined
      for (let i = 0; i < 3; i++) graph ? graph.replay() : scope(once)
      const values = await Promise.all(parameters.map((p) => p.data()))
      graph?.dispose()
      return values
    }
    const eager = await train(plainly, false)
    expect(await train(again, false)).toEqual(eager)
    expect(await train(again, true)).toEqual(eager)
  })

  test('over two devices, inside and around the checkpoint', async () => {
    await openFabric(several(2))
    const run = async (runs: Run) => {
      manualSeed(5, device)
      manualSeed(6, elsewhere)
      const a = ones([4, 4]).requiresGrad_()
      const b = ones([4, 4], { device: elsewhere }).requiresGrad_()
      const y = scope(() => {
        const first = runs(() => F.dropout(a.matmul(a).tanh(), 0.5))
        const second = runs(() => {
          const there = first.to({ device: elsewhere }).matmul(b).sigmoid()
          return F.dropout(there, 0.5).to({ device })
        })
        const total = second.mul(second).sum()
        total.backward()
        return total
      })
      return Promise.all([y, a.grad!, b.grad!].map((t) => t.data()))
    }
    expect(await run(again)).toEqual(await run(plainly))
  })
})

test('several results and inputs, of which some need no gradient', async () => {
  const run = async (runs: boolean) => {
    const [a, b] = [randn([3], { dtype: 'f64' }), randn([3], { dtype: 'f64' })]
    noGrad(() => {
      a.copy_(tensor([1, 2, 3]))
      b.copy_(tensor([4, 5, 6]))
    })
    a.requiresGrad_()
    const body = (x: Tensor, y: Tensor) => {
      const exp = x.mul(y).exp()
      return { sum: exp.sum(), list: [exp.log().mul(x), y.mul(2)] }
    }
    const { sum, list } = runs ? checkpoint(body, a, b) : body(a, b)
    sum.log().add(list[0]!.sum()).add(list[1]!.sum()).backward()
    return [await a.grad!.data(), await sum.data()]
  }
  expect(await run(true)).toEqual(await run(false))
})

test('inputs that are given outlive a scope around the forward; what is only used does not', async () => {
  const w = ones([2]).requiresGrad_()
  const make = (given: boolean) =>
    scope(() => {
      const x = w.mul(3)
      return given
        ? checkpoint((y: Tensor) => y.mul(y).exp().sum(), x)
        : checkpoint(() => x.mul(x).exp().sum())
    })
  const loss = make(true)
  loss.backward()
  const slope = Number((await w.grad!.data())[0])
  expect(slope / (18 * Math.exp(9))).toBeCloseTo(1, 4)
  expect(() => make(false).backward()).toThrow(/disposed/)
})

test('memory of intermediate results is not held', async () => {
  const depth = 16
  // On a GPU the first product of a shape is measured beside a block of 192 MB, which counts as use.
  const rows = device.startsWith('host') ? 4096 : 65536
  const peak = async (run: Run) => {
    const weights = Array.from({ length: depth }, () =>
      randn([64, 64], { std: 0.1 }).requiresGrad_(),
    )
    const input = randn([rows, 64])
    await synchronize(device)
    const before = memory()[device]!.bytes
    let held = 0
    scope(() => {
      let x = input
      for (const w of weights) {
        const from = x
        x = run(() => F.linear(from, w).tanh().mul(from).sigmoid().exp())
      }
      const loss = x.mean()
      held = memory()[device]!.bytes - before
      loss.backward()
    })
    await synchronize(device)
    const { bytes, peakAllocatedBytes } = memory()[device]!
    return { held, left: bytes - before, most: peakAllocatedBytes }
  }
  const kept = await peak(again) // first: the allocator's peak only grows
  const plain = await peak(plainly)
  const activation = rows * 64 * 4
  expect(plain.held).toBeGreaterThan(4 * depth * activation)
  expect(kept.held).toBeLessThan((depth + 2) * activation)
  expect(plain.most - kept.most).toBeGreaterThan(2 * depth * activation)
  expect(kept.left).toBe(plain.left)
})

describe('what runs how often', () => {
  test('the function once more a pass, also where the graph is retained; hooks inside once a pass', async () => {
    const w = ones([2]).requiresGrad_()
    let [runs, hooks] = [0, 0]
    const loss = checkpoint(() => {
      runs++
      const y = w.mul(2).exp()
      y.registerHook(() => void hooks++)
      return y.sum()
    })
    loss.backward(undefined, { retainGraph: true })
    loss.backward()
    expect([runs, hooks]).toEqual([2, 2])
    expect(Number((await w.grad!.data())[0]) / (4 * Math.exp(2))).toBeCloseTo(1, 5)
    expect(() => loss.backward()).toThrow(/retainGraph/)
  })

  test('once where nothing is recorded, or nothing needs a gradient', () => {
    let runs = 0
    const body = () => {
      runs++
      return ones([2]).exp().sum()
    }
    expect(noGrad(() => checkpoint(body)).requiresGrad).toBe(false)
    expect(checkpoint(body).requiresGrad).toBe(false)
    expect(runs).toBe(2)
  })
})

describe('what it refuses', () => {
  const w = ones([3]).requiresGrad_()

  test.each<[string, (run: number) => Tensor]>([
    ['fewer operators', (run) => (run === 1 ? w.exp().exp() : w.exp())],
    ['more operators', (run) => (run === 1 ? w.exp() : w.exp().exp())],
    ['other shapes', (run) => w.narrow(0, 0, run).exp()],
    ['other draws', (run) => F.dropout(run === 1 ? w.exp() : F.dropout(w.exp(), 0.5), 0.5)],
  ])('a second run with %s', (_, body) => {
    let run = 0
    const loss = checkpoint(() => body(++run).sum())
    expect(() => loss.backward()).toThrow(UsageError)
    w.zeroGrad()
  })

  test('a weight that changed in between, as without a checkpoint', () => {
    const v = ones([2, 2]).requiresGrad_()
    const loss = checkpoint(() => v.matmul(v).exp().sum())
    noGrad(() => v.mul_(2))
    expect(() => loss.backward()).toThrow(/changed in place/)
  })

  test('a backward pass inside its function', () => {
    expect(() => checkpoint(() => w.exp().exp().sum().backward())).toThrow(/inside the function/)
    w.zeroGrad()
  })

  test('promises; an error of the second run reaches the caller and ends the checkpoint', async () => {
    expect(() => checkpoint(async () => w.exp())).toThrow(UsageError)
    let run = 0
    const thrown = new Error('the second time')
    const loss = checkpoint(() => {
      if (++run === 2) throw thrown
      return w.exp().sum()
    })
    expect(() => loss.backward()).toThrow(thrown)
    const after = checkpoint(() => w.exp().sum())
    after.backward()
    expect(await after.item()).toBeCloseTo(3 * Math.E, 5)
  })
})

test('checkpoints leave nothing behind', async () => {
  await step(again)
  await synchronize(device)
  releaseCached(device)
  const before = memory()[device]!.tensors
  for (let i = 0; i < 3; i++) {
    scope(() => {
      const w = randn([8, 8]).requiresGrad_()
      checkpoint(() => w.matmul(w).tanh().sum()).backward()
      checkpoint(() => w.matmul(w).tanh().sum())
    })
  }
  expect(memory()[device]!.tensors).toBe(before)
})
