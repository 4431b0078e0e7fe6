// Mixed precision as a region: which dtype each class of operators computes in, numbers by hand, gradients in the
// leaf's dtype, weights cast once, nested regions, captured steps, threads that do not see each other's region.
import { describe, expect, test } from 'vitest'
import {
  autocast,
  autocastDtype,
  captureGraph,
  DtypeError,
  functional as F,
  type Graph,
  keep,
  nn,
  noGrad,
  ones,
  openFabric,
  optim,
  randn,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
  UsageError,
  zeros,
} from 'weft'
import { autocastClasses } from '../../../dist/native/autocast-classes.js'
import { device } from '../device.js'
import { toBf16, toF16 } from './round.js'

setDefaultDevice(device)

const x = [1.001, -2.003, 0.3333, 7.77]
const w = [0.1111, 3.3333, -1.2345, 0.0625]

/** Operators of each class that is cast, on operands that they take. */
const calls: Record<string, (a: Tensor, b: Tensor) => Tensor> = {
  matmul: (a, b) => a.matmul(b),
  linear: (a, b) => F.linear(a, b),
  attention: (a, b) => {
    const heads = (t: Tensor) => t.reshape([1, 1, 2, 2])
    return F.scaledDotProductAttention(heads(a), heads(b), heads(a))
  },
  attention_packed: (a) => F.packedAttention(F.stack([a, a, a], 0).reshape([1, 2, 3, 1, 2])),
  layer_norm: (a) => F.layerNorm(a),
  rms_norm: (a) => F.rmsNorm(a),
  add_layer_norm: (a, b) => F.addLayerNorm(a, b)[1],
  add_rms_norm: (a, b) => F.addRmsNorm(a, b)[1],
  softmax: (a) => a.softmax(),
  log_softmax: (a) => a.logSoftmax(),
  sum: (a) => a.sum(),
  mean: (a) => a.mean(),
  var: (a) => a.variance(),
  exp: (a) => a.exp(),
  log: (a) => a.log(),
  pow: (a, b) => a.pow(b),
  pow_scalar: (a) => a.pow(2),
  reciprocal: (a) => a.reciprocal(),
  rsqrt: (a) => a.rsqrt(),
  softplus: (a) => a.softplus(),
  cross_entropy: (a) => F.crossEntropy(a, tensor([0n, 1n])),
  linear_cross_entropy: (a, b) => F.linearCrossEntropy(a, b, tensor([0n, 1n])),
}

describe('what operators compute in', () => {
  test('every operator of the table has its class, whatever floating operands come', () => {
    expect(Object.keys(calls).sort()).toEqual(Object.keys(autocastClasses).sort())
    for (const low of ['bf16', 'f16'] as const) {
      for (const given of ['f32', 'bf16', 'f16'] as const) {
        const [a, b] = [ones([2, 2], { dtype: given }), ones([2, 2], { dtype: given })]
        for (const [name, run] of Object.entries(calls)) {
          const want = ['low', 'rounded', 'rounded_sum'].includes(autocastClasses[name]!)
            ? low
            : 'f32'
          expect([name, given, autocast(low, () => run(a, b)).dtype]).toEqual([name, given, want])
        }
      }
    }
  })

  test('everything else promotes; f64 and integers stay', () => {
    const a = ones([2], { dtype: 'f32' })
    const b = ones([2], { dtype: 'bf16' })
    autocast('bf16', () => {
      expect(a.add(b).dtype).toBe('f32')
      expect(b.mul(b).dtype).toBe('bf16')
      expect(b.relu().dtype).toBe('bf16')
      expect(F.cat([a, b]).dtype).toBe('f32')
      const wide = ones([2, 2], { dtype: 'f64' })
      expect(wide.matmul(wide).dtype).toBe('f64')
      const whole = ones([2, 2], { dtype: 'i32' })
      expect(whole.matmul(whole).dtype).toBe('i32')
    })
  })

  test('products of mixed dtypes are refused outside a region and defined inside', () => {
    const a = ones([2, 2])
    const b = ones([2, 2], { dtype: 'bf16' })
    expect(() => a.matmul(b)).toThrow(DtypeError)
    expect(() => F.linear(a, b)).toThrow(DtypeError)
    expect(() => F.linear(b, b, ones([2]))).toThrow(DtypeError)
    expect(() => calls.attention!(a, b)).toThrow(DtypeError)
    expect(autocast('bf16', () => F.linear(a, b, ones([2]))).dtype).toBe('bf16')
    expect(autocast('f16', () => a.matmul(b)).dtype).toBe('f16')
  })
})

for (const low of ['bf16', 'f16'] as const) {
  test(`${low}: a norm before a product gives the bits of the norm in f32, cast, forward and backward`, async () => {
    const weights = randn([24, 16]).to(low)
    const run = async (norm: (rows: Tensor, weight: Tensor) => Tensor) => {
      const rows = tensor(
        [x, w, x, w].map((row) => [...row, ...w, ...row, ...x]),
        { requiresGrad: true },
      )
      const weight = tensor([...x, ...w, ...w, ...x], { requiresGrad: true })
      const y = norm(rows, weight)
      y.backward(ones(y.shape, { dtype: y.dtype }))
      return [await y.data(), await rows.grad!.data(), await weight.grad!.data()]
    }
    for (const norm of [F.rmsNorm, (rows: Tensor, weight: Tensor) => F.layerNorm(rows, weight)]) {
      const inRegion = await run((rows, weight) =>
        autocast(low, () => F.linear(norm(rows, weight), weights)),
      )
      const byHand = await run((rows, weight) => F.linear(norm(rows, weight).to(low), weights))
      expect(inRegion).toEqual(byHand)
    }
  })
}

for (const [low, round] of [
  ['bf16', toBf16],
  ['f16', toF16],
] as const) {
  test(`${low}: a product is the rounded sum of products of rounded factors; gradients are f32`, async () => {
    const a = tensor([x], { requiresGrad: true })
    const b = tensor([w], { requiresGrad: true })
    const y = autocast(low, () => F.linear(a, b))
    const [rx, rw] = [x.map(round), w.map(round)]
    const sum = rx.reduce((total, value, i) => Math.fround(total + value * rw[i]!), 0)
    expect(await y.data()).toEqual(Float32Array.of(round(sum)))
    y.backward(tensor([[1]]))
    expect([a.grad!.dtype, b.grad!.dtype]).toEqual(['f32', 'f32'])
    expect(await a.grad!.data()).toEqual(Float32Array.from(rw))
    expect(await b.grad!.data()).toEqual(Float32Array.from(rx))
  })
}

test('sums of low-precision products are accumulated in f32', async () => {
  // 4096 ones: bf16 itself stops counting at 256, f16 at 2048.
  const a = ones([1, 4096])
  for (const low of ['bf16', 'f16'] as const) {
    expect(await autocast(low, () => F.linear(a, a)).item()).toBe(4096)
  }
})

test('the loss of bf16 logits is that of the logits in f32, bit by bit on a host device', async () => {
  const logits = randn([8, 32])
  const rounded = logits.to('bf16')
  const target = tensor(Array.from({ length: 8 }, (_, i) => BigInt(i)))
  const inside = autocast('bf16', () => F.crossEntropy(rounded, target))
  const outside = F.crossEntropy(rounded.to('f32'), target)
  if (device.startsWith('host')) {
    expect(await inside.data()).toEqual(await outside.data())
  } else {
    // A GPU's lanes take 16 bytes of a row at a time, so that they sum other elements.
    expect(Math.abs((await inside.item()) / (await outside.item()) - 1)).toBeLessThan(1e-6)
  }
})

describe('casts of weights', () => {
  const fabric = openFabric({ devices: device })

  /** Casts that `fn` enqueued. */
  async function casts(fn: () => void): Promise<number> {
    const opened = await fabric
    opened.logMode = 'basic'
    const { nextSequence: since } = opened.snapshot({ limit: 0 })
    fn()
    const { events } = opened.snapshot({ since, limit: 4096 })
    opened.logMode = 'off'
    return events.filter((event) => event.kind === 'operator' && event.name === 'to_dtype').length
  }

  test('one a weight until the outermost region ends', async () => {
    const weight = randn([3, 3], { dtype: 'f32' }).requiresGrad_()
    const input = ones([2, 3], { dtype: 'bf16' })
    const region = () =>
      autocast('bf16', () => {
        F.linear(input, weight)
        autocast(false, () => {})
        autocast('bf16', () => F.linear(input, weight))
        F.linear(input, weight)
      })
    expect(await casts(region)).toBe(1)
    expect(await casts(() => (region(), region()))).toBe(2)
  })

  test('anew once the weight has changed, in the other precision, and with recording switched', async () => {
    const weight = ones([2, 2]).requiresGrad_()
    const input = ones([1, 2], { dtype: 'bf16' })
    let last: Tensor | undefined
    expect(
      await casts(() =>
        autocast('bf16', () => {
          F.linear(input, weight)
          noGrad(() => weight.zero_())
          last = F.linear(input, weight)
        }),
      ),
    ).toBe(2)
    expect(await last!.data()).toEqual(Float32Array.of(0, 0))
    const value = autocast('bf16', () => {
      const unrecorded = noGrad(() => F.linear(input, weight))
      expect(unrecorded.requiresGrad).toBe(false)
      expect(autocast('f16', () => F.linear(input, weight)).dtype).toBe('f16')
      return F.linear(input, weight)
    })
    value.sum().backward()
    expect(await weight.grad!.data()).toEqual(Float32Array.of(1, 1, 1, 1))
  })

  test('ahead of their use give the same bits and gradients, called and captured', async () => {
    const start = [
      randn([24, 40], { device }),
      randn([40, 24], { device }),
      randn([24], { device }),
    ]
    const x = randn([17, 24], { device })
    const train = async (ahead: boolean, captured: boolean) => {
      const weights = start.map((each) => keep(each.clone()).requiresGrad_())
      const [up, down, norm] = weights as [Tensor, Tensor, Tensor]
      const step = () => {
        const loss = autocast(
          'bf16',
          () => F.layerNorm(x.matmul(up).gelu().matmul(down), norm).pow(2).mean(),
          ahead ? { weights } : {},
        )
        loss.backward()
        noGrad(() => {
          for (const each of weights) each.sub_(each.grad!.mul(0.1))
        })
        for (const each of weights) each.zeroGrad()
        return loss.detach()
      }
      const losses: number[] = []
      let graph: Graph<Tensor> | undefined
      for (let i = 0; i < 6; i++) {
        if (captured && i >= 2) {
          graph ??= captureGraph(step, { devices: device })
          graph.replay()
          losses.push((await graph.result.item()) as number)
        } else {
          using loss = scope(step)
          losses.push((await loss.item()) as number)
        }
      }
      graph?.dispose()
      return losses
    }
    const expected = await train(false, false)
    expect(new Set(expected).size).toBe(6)
    expect(await train(true, false)).toEqual(expected)
    expect(await train(true, true)).toEqual(expected)
  })

  test('a weight used twice gets the sum of both gradients', async () => {
    const weight = ones([1, 1]).requiresGrad_()
    autocast('bf16', () =>
      F.linear(tensor([[2]]), weight)
        .add(F.linear(tensor([[3]]), weight))
        .sum(),
    ).backward()
    expect(await weight.grad!.data()).toEqual(Float32Array.of(5))
  })
})

describe('regions', () => {
  test('nest, and false and f32 switch off inside', () => {
    const a = ones([2, 2])
    const seen = autocast('bf16', () => [
      autocastDtype(),
      autocast('f16', () => [autocastDtype(), a.matmul(a).dtype]),
      autocast(false, () => [autocastDtype(), a.matmul(a).dtype]),
      autocast('f32', () => a.matmul(a).dtype),
      a.matmul(a).dtype,
    ])
    expect(seen).toEqual(['bf16', ['f16', 'f16'], [undefined, 'f32'], 'f32', 'bf16'])
    expect([autocastDtype(), a.matmul(a).dtype]).toEqual([undefined, 'f32'])
  })

  test('end with an error, and refuse promises and other dtypes', async () => {
    const thrown = new Error('from inside')
    expect(() =>
      autocast('bf16', () => {
        throw thrown
      }),
    ).toThrow(thrown)
    expect(autocastDtype()).toBeUndefined()
    expect(() => autocast('bf16', async () => {})).toThrow(UsageError)
    expect(() => autocast('fp8' as 'bf16', () => {})).toThrow(DtypeError)
    expect(() => autocast('' as 'bf16', () => {})).toThrow(DtypeError)
    expect(autocastDtype()).toBeUndefined()
  })

  test('backward runs as recorded, inside another region too', async () => {
    const make = () => {
      const a = tensor([x], { requiresGrad: true })
      return { a, y: autocast('bf16', () => F.linear(a, tensor([w])).sum()) }
    }
    const [outside, inside] = [make(), make()]
    outside.y.backward()
    autocast('f16', () => inside.y.backward())
    expect(await inside.a.grad!.data()).toEqual(await outside.a.grad!.data())
  })

  test('in a captured step weights are cast in every replay', async () => {
    const weight = ones([2, 2]).requiresGrad_()
    const input = tensor([[1, 2]])
    const optimizer = optim.sgd([weight], { lr: 0.5 })
    const step = () => {
      const loss = autocast('bf16', () => F.linear(input, weight).sum())
      loss.backward()
      optimizer.step()
      weight.zeroGrad(true)
      return loss
    }
    step()
    const graph = captureGraph(step)
    graph.replay()
    graph.replay()
    // Each step takes 0.5 · [1, 2] from both rows.
    expect(await weight.data()).toEqual(Float32Array.of(-0.5, -2, -0.5, -2))
    // The second replay saw the weights [0, -1] in both rows.
    expect(await graph.result.item()).toBe(-4)
    graph.dispose()
    graph.result.dispose()
  })

  test('a region around two captures gives neither the casts of the other', async () => {
    const weight = ones([1, 1]).requiresGrad_()
    const input = ones([1, 1])
    const out = [zeros([1, 1]), zeros([1, 1])]
    const graphs = autocast('bf16', () => {
      F.linear(input, weight)
      return out.map((to) =>
        captureGraph(() => {
          const y = F.linear(input, weight)
          noGrad(() => to.copy_(y.detach()))
        }),
      )
    })
    noGrad(() => weight.mul_(3))
    for (const graph of graphs) graph.replay()
    expect(await Promise.all(out.map((each) => each.item()))).toEqual([3, 3])
    for (const graph of graphs) graph.dispose()
  })
})

test('a block of a transformer trains under bf16 as in f32, to bf16 accuracy', async () => {
  const losses = (low: 'bf16' | false) => {
    const model = new nn.Sequential(
      new nn.Linear(8, 32, { gelu: true }),
      new nn.LayerNorm(32),
      new nn.Linear(32, 4),
    )
    let seed = 1
    for (const p of model.parameters()) {
      noGrad(() => p.copy_(tensor(wave(p.numel, seed++)).reshape([...p.shape])))
    }
    const input = tensor(wave(16 * 8, 99)).reshape([16, 8])
    const target = tensor(Array.from({ length: 16 }, (_, i) => BigInt(i % 4)))
    const optimizer = optim.adamw(model.parameters(), { lr: 0.01 })
    return Array.from({ length: 30 }, () => {
      const loss = autocast(low, () => F.crossEntropy(model.forward(input), target))
      loss.backward()
      optimizer.step()
      optimizer.zeroGrad()
      return loss
    })
  }
  const read = (list: Tensor[]) => Promise.all(list.map((loss) => loss.item()))
  const [plain, mixed] = [await read(losses(false)), await read(losses('bf16'))]
  expect(plain.at(-1)!).toBeLessThan(plain[0]! / 2)
  for (const [i, value] of plain.entries()) expect(Math.abs(mixed[i]! - value)).toBeLessThan(0.05)
  expect(mixed).not.toEqual(plain)
})

/** Numbers between -0.5 and 0.5 that look random. */
function wave(count: number, seed: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + seed * 78.233) / 2)
}
