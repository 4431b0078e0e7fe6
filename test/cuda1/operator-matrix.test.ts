// Operator × dtype × layout on a device against host:0 in f64, results and gradients. Inputs are rounded
// to the dtype first, so both sides see the same numbers. WEFT_TEST_DEVICE names the device.
import { afterEach, describe, expect, test } from 'vitest'
import { allowTf32, type DType, functional as F, noGrad, type Tensor, tensor } from 'weft'
import {
  allLayouts,
  type Case,
  cases,
  disposeMade,
  floats,
  type Input,
  integers,
  type Layout,
  layouts,
  noEmpty,
  own,
} from './operator-cases.js'

const device = process.env['WEFT_TEST_DEVICE'] ?? 'cuda:0'
const reference = 'host:0'
allowTf32(false) // compared with f64 at f32's own precision

// Differences allowed, relative to the largest magnitude of the result (at least 1): a few roundings of
// the dtype, since f16 and bf16 are computed in f32.
const tolerance: Record<string, number> = { f64: 1e-12, f32: 6e-6, f16: 3e-3, bf16: 2.4e-2 }

afterEach(disposeMade)

/** The same numbers on every run: a linear congruential generator in 0 .. 1. */
function numbers(count: number, seed: number): Float64Array {
  const out = new Float64Array(count)
  let state = BigInt(seed) * 2654435761n + 12345n
  for (let i = 0; i < count; i++) {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n)
    out[i] = Number(state >> 11n) / 2 ** 53
  }
  return out
}
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

async function values(t: Tensor): Promise<number[]> {
  return Array.from((await t.data()) as ArrayLike<number | bigint>, Number)
}

async function expectClose(got: Tensor, want: Tensor, dtype: DType, loose: number, what: string) {
  expect([...got.shape], `${what}: shape`).toEqual([...want.shape])
  const [a, b] = [await values(got), await values(want)]
  const largest = Math.max(1, b.map(Math.abs).filter(Number.isFinite).reduce(max, 0))
  const limit = (tolerance[dtype] ?? 0) * largest * loose
  let worst = 0
  for (const [i, v] of b.entries()) {
    const difference = Object.is(a[i], v) || a[i] === v ? 0 : Math.abs(a[i]! - v)
    if (!(difference <= limit)) expect.fail(`${what}[${i}]: ${a[i]} against ${v}, limit ${limit}`)
    worst = Math.max(worst, difference)
  }
}
const max = (a: number, b: number) => Math.max(a, b)

function fill(input: Input, dtype: DType, seed: number, on: string): Tensor {
  const { low = 0, high = 1 } = input
  const data = numbers(sizeOf(input.shape), seed).map((u) => low + u * (high - low))
  const whole = input.dtype === 'i64' || input.dtype === 'bool' || integers.includes(dtype)
  const raw = Array.from(data, (v) => (whole ? Math.floor(v) : v))
  if (input.dtype) return own(tensor(raw, { shape: input.shape, dtype: input.dtype, device: on }))
  // Through the dtype on either side: what the device computes with is what the host sees.
  const rounded = own(tensor(raw, { shape: input.shape, dtype, device: on }))
  return on === device || dtype === 'f64' || !floats.includes(dtype)
    ? rounded
    : own(rounded.to({ dtype: 'f64' }))
}

/** Leaves, and the tensors that the operator sees: the leaves in `layout`. */
function prepare(c: Case, dtype: DType, layout: Layout, on: string) {
  const leaves = c.inputs.map((input, i) => {
    const t = fill(input, dtype, i + 1, on)
    return input.plain || c.forward || !floats.includes(dtype) ? t : t.requiresGrad_()
  })
  const inputs = leaves.map((t, i) => (c.inputs[i]!.plain ? t : layouts[layout](t)))
  return { leaves, inputs }
}

for (const c of cases) {
  describe(c.name, () => {
    for (const dtype of c.dtypes ?? floats) {
      test.each(c.layouts ?? allLayouts)(`${dtype} %s`, async (layout) => {
        const here = prepare(c, dtype, layout, device)
        const there = prepare(c, dtype, layout, reference)
        const out = own(c.run(here.inputs))
        const wanted = own(c.run(there.inputs))
        const compared = coarser(dtype, out.dtype)
        await expectClose(out, wanted, compared, c.loose ?? 1, 'result')
        if (c.forward || !out.requiresGrad) return
        const seed = noGrad(() => own(fill({ shape: [...out.shape] }, 'bf16', 99, reference)))
        out.backward(noGrad(() => own(own(seed.to({ dtype: out.dtype })).to({ device }))))
        wanted.backward(noGrad(() => own(seed.to({ dtype: wanted.dtype }))))
        for (const [i, leaf] of here.leaves.entries()) {
          if (!leaf.requiresGrad) continue
          const want = there.leaves[i]!.grad!
          await expectClose(leaf.grad!, want, compared, 4 * (c.loose ?? 1), `gradient ${i}`)
        }
      })
    }
  })
}

/** The dtype whose rounding dominates. */
function coarser(a: DType, b: DType): DType {
  return (tolerance[a] ?? 0) > (tolerance[b] ?? 0) ? a : b
}

// Integers are exact; i64 sums beyond 2^53 are not part of this.
describe('integers', () => {
  const small: Input = { shape: [37, 53], low: 0, high: 11 }
  const exact: [string, (a: Tensor, b: Tensor) => Tensor][] = [
    ['add', (a, b) => a.add(b)],
    ['mul', (a, b) => a.mul(b)],
    ['maximum', (a, b) => a.maximum(b)],
    ['pow 3', (a) => a.pow(3)],
    ['add 7', (a) => a.add(7)],
    ['lt', (a, b) => a.lt(b)],
    ['ge 4.5', (a) => a.ge(4.5)],
    ['sum', (a) => a.sum()],
    ['sum 0', (a) => a.sum(0)],
    ['sum 1', (a) => a.sum(1)],
    ['max 0', (a) => a.max(0)],
    ['argmax 1', (a) => a.argmax(1)],
    ['to f32', (a) => a.to({ dtype: 'f32' })],
    ['to bool', (a) => a.to({ dtype: 'bool' })],
    ['div', (a, b) => a.div(own(b.add(1)))],
  ]
  for (const dtype of integers) {
    for (const [name, run] of exact) {
      test.each(noEmpty)(`${name} ${dtype} %s`, async (layout) => {
        const [a, b] = [1, 2].map((seed) => layouts[layout](fill(small, dtype, seed, device)))
        const [x, y] = [1, 2].map((seed) => layouts[layout](fill(small, dtype, seed, reference)))
        const got = own(run(a!, b!))
        await expectClose(got, own(run(x!, y!)), name === 'div' ? 'f32' : 'i64', 1, name)
      })
    }
  }
})

describe('special values', () => {
  const special = [Number.NaN, Infinity, -Infinity, 0, -0, 1, -1, 70000, 1e-30, -200, 200]
  const calls: Record<string, (t: Tensor) => Tensor> = {
    gelu: (t) => t.gelu(),
    geluTanh: (t) => t.gelu({ approximate: 'tanh' }),
    silu: (t) => t.silu(),
    sigmoid: (t) => t.sigmoid(),
    tanh: (t) => t.tanh(),
    relu: (t) => t.relu(),
    sign: (t) => t.sign(),
    isFinite: (t) => F.isFinite(t),
    max: (t) => t.max(),
    argmax: (t) => t.argmax(),
    toI32: (t) => t.to({ dtype: 'i32' }),
    toU8: (t) => t.to({ dtype: 'u8' }),
    toBool: (t) => t.to({ dtype: 'bool' }),
    softmaxOfInfinity: (t) => own(t.narrow(0, 1, 4)).softmax(0),
  }
  test.each(Object.keys(calls))('%s', async (name) => {
    const got = own(calls[name]!(own(tensor(special, { dtype: 'f32', device }))))
    const want = own(calls[name]!(own(tensor(special, { dtype: 'f32', device: reference }))))
    await expectClose(got, want, 'f32', 1, name)
  })
})

test('an index out of range is reported when a value is read, and the device goes on', async () => {
  const weight = own(tensor([1, 2, 3, 4], { shape: [2, 2], device }))
  const bad = own(tensor([0n, 5n], { device }))
  const out = own(F.embedding(weight, bad))
  await expect(out.data()).rejects.toThrow(/index 5/)
  expect(await values(own(F.embedding(weight, own(tensor([1n], { device })))))).toEqual([3, 4])
})
