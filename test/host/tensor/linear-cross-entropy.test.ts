// linearCrossEntropy against crossEntropy(linear(…)): values and gradients over chunks, tied weights, mixed precision,
// the same bits again, what it refuses, and that the logits of all rows never exist.
import { expect, test } from 'vitest'
import {
  allowTf32,
  autocast,
  captureGraph,
  DtypeError,
  functional as F,
  memory,
  noGrad,
  openFabric,
  optim,
  randn,
  ShapeError,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
  UsageError,
} from 'weft'
import { device } from '../device.js'

await openFabric({ devices: [device] })
setDefaultDevice(device)
allowTf32(false) // chunks of other sizes are compared at f32's own precision

type Reduction = 'none' | 'mean' | 'sum'
const [rows, width, classes] = [37, 24, 61]
const target = tensor(
  Int32Array.from({ length: rows }, (_, i) => (i % 7 === 3 ? -100 : (i * 5) % classes)),
)

function leaves() {
  const leaf = (shape: number[], seed: number) => {
    const count = shape.reduce((n, size) => n * size, 1)
    const values = Float32Array.from({ length: count }, (_, i) => Math.sin(i * seed + seed) * 0.7)
    return tensor(values, { shape, requiresGrad: true })
  }
  return [leaf([rows, width], 1.7), leaf([classes, width], 0.9), leaf([classes], 2.3)] as const
}

const values = async (t: Tensor) => Array.from(await t.data(), Number)

async function expectNear(actual: Tensor, expected: Tensor, bound: number, what: string) {
  const [a, b] = [await values(actual), await values(expected)]
  expect([what, a.length]).toEqual([what, b.length])
  const largest = Math.max(...b.map(Math.abs))
  for (const [i, value] of a.entries()) {
    if (!(Math.abs(value - b[i]!) <= bound * largest))
      expect.fail(`${what}[${i}]: ${value}, not ${b[i]}`)
  }
}

const reductions: Reduction[] = ['none', 'mean', 'sum']
test.each(reductions)(
  'it is crossEntropy(linear(…)), reduction %s, whatever the chunk',
  async (reduction) => {
    const options = { reduction, labelSmoothing: 0.1 }
    const whole = leaves()
    const expected = F.crossEntropy(F.linear(...whole), target, options)
    const seed = reduction === 'none' ? randn([rows]) : tensor(0.5)
    expected.backward(seed)
    for (const chunkRows of [0, 1, 16, 37, 100]) {
      const [x, weight, bias] = leaves()
      const loss = F.linearCrossEntropy(x, weight, target, { ...options, bias, chunkRows })
      expect(loss.shape).toEqual(expected.shape)
      loss.backward(seed)
      await expectNear(loss, expected, 1e-5, `loss in chunks of ${chunkRows}`)
      for (const [i, leaf] of [x, weight, bias].entries()) {
        await expectNear(
          leaf.grad!,
          whole[i]!.grad!,
          2e-5,
          `gradient ${i} in chunks of ${chunkRows}`,
        )
      }
    }
  },
)

test('any leading dimensions; a tied weight gets both gradients; frozen operands get none', async () => {
  const tokens = tensor(Int32Array.from([1, 5, 2, 60, 7, 3]), { shape: [2, 3] })
  const run = (loss: (x: Tensor, weight: Tensor) => Tensor) => {
    const [, weight] = leaves()
    const x = F.embedding(weight, tokens).mul(0.5)
    loss(x, weight).backward()
    return weight.grad!
  }
  const expected = run((x, w) =>
    F.crossEntropy(F.linear(x, w).view([6, classes]), tokens.view([6])),
  )
  const found = run((x, w) => F.linearCrossEntropy(x, w, tokens, { chunkRows: 4 }))
  await expectNear(found, expected, 2e-5, 'tied weight')
  const [x, weight, bias] = leaves()
  F.linearCrossEntropy(x.detach(), weight, target, { bias: bias.detach() }).backward()
  expect([x.grad, bias.grad]).toEqual([null, null])
  expect(weight.grad!.shape).toEqual([classes, width])
})

test.each(['bf16', 'f16'] as const)(
  'in a region of %s: the loss is f32, gradients have the leaf’s dtype',
  async (low) => {
    const run = (loss: (x: Tensor, w: Tensor, b: Tensor) => Tensor, given = leaves()) => {
      const out = autocast(low, () => loss(...given))
      expect(out.dtype).toBe('f32')
      out.backward()
      return [out, ...given.map((leaf) => leaf.grad!)]
    }
    const exact = leaves()
    F.crossEntropy(F.linear(...exact), target).backward()
    for (const reduction of ['mean', 'sum'] as const) {
      const whole = run((...t) => F.crossEntropy(F.linear(...t), target, { reduction }))
      for (const chunkRows of [0, 8]) {
        const parts = run((x, w, bias) =>
          F.linearCrossEntropy(x, w, target, { bias, reduction, chunkRows }),
        )
        for (const [i, part] of parts.entries()) {
          expect(part.dtype).toBe('f32')
          await expectNear(part, whole[i]!, 2e-2, `${low} ${reduction} ${i}`)
        }
        if (reduction === 'sum') continue
        for (const [i, leaf] of exact.entries()) {
          await expectNear(parts[i + 1]!, leaf.grad!, 2e-2, `${low} against f32, gradient ${i}`)
        }
      }
    }
  },
)

test('the same bits again, eager and captured', async () => {
  const step = (weight: Tensor, x: Tensor) =>
    F.linearCrossEntropy(x, weight, target, { chunkRows: 16 })
  const trained = async (captured: boolean) => {
    const [x, weight] = leaves()
    const sgd = optim.sgd([weight], { lr: 0.1 })
    const one = () =>
      scope(() => {
        step(weight, x.detach()).backward()
        sgd.step()
        sgd.zeroGrad()
      })
    one()
    if (captured) {
      const graph = captureGraph(one)
      for (let i = 0; i < 3; i++) graph.replay()
      graph.dispose()
    } else for (let i = 0; i < 3; i++) one()
    return values(weight)
  }
  const bits = await trained(false)
  expect(await trained(false)).toEqual(bits)
  expect(await trained(true)).toEqual(bits)
})

test('a retained graph gives its gradients twice', async () => {
  const [x, weight] = leaves()
  const loss = F.linearCrossEntropy(x, weight, target)
  loss.backward(undefined, { retainGraph: true })
  const once = noGrad(() => x.grad!.clone())
  loss.backward()
  await expectNear(
    x.grad!,
    noGrad(() => once.mul(2)),
    1e-6,
    'gradient of x',
  )
})

test('no row counts: the mean is NaN, the sum and its gradients are 0; so without rows', async () => {
  const [x, weight] = leaves()
  const ignored = tensor(new Int32Array(rows).fill(-100))
  expect(await F.linearCrossEntropy(x, weight, ignored).item()).toBeNaN()
  const sum = F.linearCrossEntropy(x, weight, ignored, { reduction: 'sum' })
  sum.backward()
  expect(await sum.item()).toBe(0)
  expect((await values(weight.grad!)).every((value) => value === 0)).toBe(true)
  const nothing = [x.narrow(0, 0, 0), weight, target.narrow(0, 0, 0)] as const
  expect(await F.linearCrossEntropy(...nothing).item()).toBeNaN()
  const empty = F.linearCrossEntropy(...nothing, { reduction: 'sum' })
  empty.backward()
  expect(await empty.item()).toBe(0)
  expect(F.linearCrossEntropy(...nothing, { reduction: 'none' }).shape).toEqual([0])
})

test('the logits of all rows never exist, nor their gradients', async () => {
  const [many, wide] = [2048, 8192]
  const [x, weight] = [randn([many, 16]).requiresGrad_(), randn([wide, 16]).requiresGrad_()]
  const truth = tensor(Int32Array.from({ length: many }, (_, i) => (i * 7) % wide))
  const logits = 4 * many * wide
  await x.data()
  const { bytes, peakAllocatedBytes: before } = memory()[device]!
  const most = async (loss: () => Tensor) => {
    scope(() => loss().backward())
    await weight.grad!.data()
    weight.grad = null
    return memory()[device]!.peakAllocatedBytes
  }
  const chunked = await most(() => F.linearCrossEntropy(x, weight, truth, { chunkRows: 128 }))
  expect(chunked).toBeLessThan(Math.max(before, bytes + logits / 4))
  expect(await most(() => F.crossEntropy(F.linear(x, weight), truth))).toBeGreaterThan(
    bytes + 2 * logits,
  )
})

test('what does not fit is refused, and nothing is lost', async () => {
  const [x, weight, bias] = leaves()
  expect(() => F.linearCrossEntropy(x, weight.narrow(1, 0, 5), target)).toThrow(ShapeError)
  expect(() => F.linearCrossEntropy(x, weight, target.narrow(0, 0, 5))).toThrow(ShapeError)
  expect(() => F.linearCrossEntropy(x, weight, target, { bias: bias.narrow(0, 0, 5) })).toThrow(
    ShapeError,
  )
  expect(() => F.linearCrossEntropy(x, weight.to('bf16'), target)).toThrow(DtypeError)
  expect(() => F.linearCrossEntropy(x, weight, x.narrow(1, 0, 1).view([rows]))).toThrow(DtypeError)
  expect(() => F.linearCrossEntropy(x, weight, target, { labelSmoothing: 2 })).toThrow(UsageError)
  expect(() => F.linearCrossEntropy(x, weight, target, { chunkRows: -1 })).toThrow(UsageError)
  const reduction = 'median' as Reduction
  expect(() => F.linearCrossEntropy(x, weight, target, { reduction })).toThrow(UsageError)
  const beyond = tensor(new Int32Array(rows).fill(classes))
  await expect(F.linearCrossEntropy(x, weight, beyond).item()).rejects.toThrow(UsageError)
  expect(await F.linearCrossEntropy(x, weight, target).item()).toBeGreaterThan(0)
})
