// addLayerNorm and addRmsNorm against add and the norm behind it: the same bits forward, gradients with and without what
// reaches the sum, low branches beside an f32 stream, mixed precision, what is refused.
import { describe, expect, test } from 'vitest'
import {
  autocast,
  captureGraph,
  type DType,
  DtypeError,
  functional as F,
  nn,
  openFabric,
  ShapeError,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
} from 'weft'
import { device } from '../device.js'

await openFabric({ devices: [device] })
setDefaultDevice(device)

const [rows, width] = [11, 72]
type Given = readonly [x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor]

function leaves(dtype: DType = 'f32', branch: DType = dtype): Given {
  const leaf = (shape: number[], seed: number, type: DType) => {
    const count = shape.reduce((n, size) => n * size, 1)
    const values = Float32Array.from({ length: count }, (_, i) => Math.sin(i * seed + seed) * 2)
    return tensor(values, { shape }).to({ dtype: type }).detach().requiresGrad_()
  }
  return [
    leaf([rows, width], 1.7, branch),
    leaf([rows, width], 0.9, dtype),
    leaf([width], 2.3, dtype),
    leaf([width], 3.1, dtype),
  ]
}

const forms = {
  layerNorm: {
    fused: ([x, r, w, b]: Given) => F.addLayerNorm(x, r, w, b),
    apart: ([x, r, w, b]: Given) => {
      const sum = r.add(x)
      return [sum, F.layerNorm(sum, w, b)] as const
    },
  },
  rmsNorm: {
    fused: ([x, r, w]: Given) => F.addRmsNorm(x, r, w),
    apart: ([x, r, w]: Given) => {
      const sum = r.add(x)
      return [sum, F.rmsNorm(sum, w)] as const
    },
  },
}

const values = async (t: Tensor) => Array.from(await t.to({ dtype: 'f32' }).data(), Number)

async function expectNear(actual: Tensor, expected: Tensor, bound: number, what: string) {
  const [a, b] = [await values(actual), await values(expected)]
  const largest = Math.max(1, ...b.map(Math.abs))
  for (const [i, value] of a.entries()) {
    if (!(Math.abs(value - b[i]!) <= bound * largest)) {
      expect.fail(`${what}[${i}]: ${value}, not ${b[i]}`)
    }
  }
}

/** Which results the loss is made of. */
const uses: Record<string, (sum: Tensor, norm: Tensor) => Tensor> = {
  both: (sum, norm) => sum.mul(0.3).add(norm.mul(sum)).sum(),
  'the norm': (_, norm) => norm.mul(norm).sum(),
  'the sum': (sum) => sum.mul(sum).sum(),
}

describe.each(Object.keys(forms) as (keyof typeof forms)[])('%s', (name) => {
  const { fused, apart } = forms[name]

  test.each(['f32', 'f64', 'f16', 'bf16'] as const)(
    'the bits of add and the norm, in %s',
    async (dtype) => {
      const [sum, norm] = fused(leaves(dtype))
      const [wantedSum, wantedNorm] = apart(leaves(dtype))
      expect([sum.dtype, norm.dtype]).toEqual([dtype, dtype])
      expect(await values(sum)).toEqual(await values(wantedSum))
      expect(await values(norm)).toEqual(await values(wantedNorm))
    },
  )

  test.each(Object.keys(uses))('gradients where the loss is made of %s', async (used) => {
    const [found, expected] = [leaves(), leaves()]
    uses[used]!(...fused(found)).backward()
    uses[used]!(...apart(expected)).backward()
    for (const [i, leaf] of found.entries()) {
      if (!expected[i]!.grad) continue // the bias of a norm without one, weights that were not used
      await expectNear(leaf.grad!, expected[i]!.grad!, 1e-5, `gradient ${i}`)
    }
  })

  test.each(['bf16', 'f16'] as const)(
    'in a region of %s: an f32 sum, the norm rounded, gradients in the leaf’s dtype',
    async (low) => {
      for (const branch of ['f32', low, low === 'f16' ? 'bf16' : 'f16'] as const) {
        const [found, expected] = [leaves('f32', branch), leaves('f32', branch)]
        const results = autocast(low, () => fused(found))
        const wanted = autocast(low, () => apart(expected))
        expect(results.map((t) => t.dtype)).toEqual(['f32', low])
        for (const i of [0, 1]) expect(await values(results[i]!)).toEqual(await values(wanted[i]!))
        uses['both']!(...results).backward()
        uses['both']!(...wanted).backward()
        for (const [i, leaf] of found.entries()) {
          if (!expected[i]!.grad) continue
          expect(leaf.grad!.dtype).toBe(leaf.dtype)
          await expectNear(leaf.grad!, expected[i]!.grad!, 2e-2, `gradient ${i} beside ${branch}`)
        }
      }
    },
  )

  test('frozen operands: each gradient alone is what it is with the others', async () => {
    const all = leaves()
    uses['both']!(...fused(all)).backward()
    for (const [only, leaf] of all.entries()) {
      if (!leaf.grad) continue
      const given = leaves().map((t, i) => (i === only ? t : t.detach())) as unknown as Given
      uses['both']!(...fused(given)).backward()
      expect(await values(given[only]!.grad!)).toEqual(await values(leaf.grad))
    }
  })

  test('a captured step gives the bits of an eager one', async () => {
    const [x, r, w, b] = leaves().map((t) => t.detach()) as unknown as Given
    const eager = await values(fused([x, r, w, b])[1])
    const out = tensor(new Float32Array(rows * width), { shape: [rows, width] })
    const graph = captureGraph(() => scope(() => void out.copy_(fused([x, r, w, b])[1])))
    graph.replay()
    expect(await values(out)).toEqual(eager)
    graph.dispose()
  })

  test('strided operands, no rows, any leading dimensions', async () => {
    const [x, r, w, b] = leaves()
    const turned = (t: Tensor) => t.transpose(0, 1).contiguous().transpose(0, 1)
    const strided = fused([turned(x), turned(r), w, b])
    expect(await values(strided[1])).toEqual(await values(apart([x, r, w, b])[1]))
    const none = fused([x.narrow(0, 0, 0), r.narrow(0, 0, 0), w, b])
    expect(none.map((t) => t.shape)).toEqual([
      [0, width],
      [0, width],
    ])
    none[1].sum().backward()
    expect((await values(w.grad!)).every((value) => value === 0)).toBe(true)
    const deep = fused([x.view([1, rows, width]), r.view([1, rows, width]), w, b])
    expect(deep[0].shape).toEqual([1, rows, width])
  })
})

test('modules add as they norm', async () => {
  const [x, r] = leaves()
  for (const module of [new nn.LayerNorm(width), new nn.RMSNorm(width)]) {
    const [sum, norm] = module.addForward(x, r)
    expect(await values(norm)).toEqual(await values(module.forward(sum)))
  }
})

test('what does not fit is refused', () => {
  const [x, r, w, b] = leaves()
  expect(() => F.addLayerNorm(x, r.narrow(0, 0, 3), w, b)).toThrow(ShapeError)
  expect(() => F.addLayerNorm(x, r, w.narrow(0, 0, 3), b)).toThrow(ShapeError)
  expect(() => F.addRmsNorm(tensor(1), tensor(1))).toThrow(ShapeError)
  expect(() =>
    F.addRmsNorm(x, tensor(new Int32Array(rows * width), { shape: [rows, width] })),
  ).toThrow(DtypeError)
})
