// softplus against its formula in f64: beta, threshold, far tails, every floating dtype, both forms.
import { describe, expect, test } from 'vitest'
import { type DType, functional as F, type Tensor, tensor } from 'weft'
import { device } from '../device.js'

const inputs = [-1000, -104, -80, -20, -3, -0.5, -1e-4, 0, 1e-4, 0.5, 3, 19.9, 20.1, 80, 1000]
const softplus = (x: number, beta: number, threshold: number) =>
  x * beta > threshold ? x : Math.log1p(Math.exp(x * beta)) / beta
const slope = (x: number, beta: number, threshold: number) =>
  x * beta > threshold ? 1 : 1 / (1 + Math.exp(-x * beta))

// Relative, so that the left tail counts too; below the floor a dtype has no normal numbers.
const limits: [DType, relative: number, floor: number][] = [
  ['f64', 1e-14, 1e-300],
  ['f32', 1e-6, 1e-37],
  ['f16', 2e-3, 1e-4],
  ['bf16', 1e-2, 1e-37],
]

async function values(t: Tensor): Promise<number[]> {
  return Array.from((await t.data()) as ArrayLike<number>, Number)
}

function expectNear(got: number[], want: number[], relative: number, floor: number) {
  for (const [i, w] of want.entries()) {
    const error = Math.abs(got[i]! - w)
    expect(error, `[${i}] ${got[i]} against ${w}`).toBeLessThanOrEqual(
      relative * Math.abs(w) + floor,
    )
  }
}

describe.each(limits)('%s', (dtype, relative, floor) => {
  test.each([
    [1, 20],
    [2.5, 4],
  ])('values and gradient, beta %d, threshold %d', async (beta, threshold) => {
    const x = tensor(inputs, { dtype, device, requiresGrad: true })
    const seen = await values(x.detach())
    const y = x.softplus({ beta, threshold })
    expect(y.dtype).toBe(dtype)
    const want = seen.map((v) => softplus(v, beta, threshold))
    expectNear(await values(y), want, relative, floor)
    y.backward(tensor(inputs.map(() => 1)).to({ dtype, device }))
    const slopes = seen.map((v) => slope(v, beta, threshold))
    expectNear(await values(x.grad!), slopes, relative, floor)
  })
})

test('by default beta is 1 and the threshold 20; F and the method agree', async () => {
  const x = tensor(inputs, { dtype: 'f64', device })
  const y = F.softplus(x)
  expectNear(
    await values(y),
    inputs.map((v) => softplus(v, 1, 20)),
    1e-14,
    1e-300,
  )
  expect(await values(x.softplus())).toEqual(await values(y))
  // Past the threshold the input itself comes back.
  expect((await values(y)).slice(-3)).toEqual([20.1, 80, 1000])
})

test('infinities and NaN', async () => {
  const x = tensor([-Infinity, Infinity, Number.NaN], { device })
  expect(await values(F.softplus(x))).toEqual([0, Infinity, Number.NaN])
})

test('integers are computed in f32; empty and zero-dimensional tensors keep their shape', async () => {
  const y = F.softplus(tensor([0, 30], { dtype: 'i64', device }))
  expect(y.dtype).toBe('f32')
  expectNear(await values(y), [Math.LN2, 30], 1e-6, 0)
  expect(F.softplus(tensor([], { device })).shape).toEqual([0])
  expect(F.softplus(tensor(0, { device })).shape).toEqual([])
})
