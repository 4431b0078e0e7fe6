// An operator that a plugin brings in CUDA (plugins/swiglu): values and gradients against the host in f64,
// in a captured step, and what it refuses. WEFT_TEST_DEVICE names the GPU.
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  captureGraph,
  type DType,
  functional as F,
  type Fabric,
  noGrad,
  openFabric,
  ops,
  optim,
  PluginError,
  randn,
  type Tensor,
  zeros,
} from 'weft'

const device = process.env.WEFT_TEST_DEVICE ?? 'cuda:0'
const swiglu = (gate: Tensor, up: Tensor) => ops.fused!.swiglu!(gate, up) as Tensor
const composed = (gate: Tensor, up: Tensor) => F.silu(gate).mul(up)

let fabric: Fabric
beforeAll(async () => {
  fabric = await openFabric({ devices: [device] })
  expect(fabric.loadPlugin('swiglu').operators).toEqual(['fused::swiglu'])
})
afterAll(() => fabric.unloadPlugin('swiglu'))

const values = async (t: Tensor) =>
  Array.from((await t.data()) as ArrayLike<number | bigint>, Number)

// Relative to the largest magnitude: a few roundings of the dtype.
const tolerance: Partial<Record<DType, number>> = { f32: 6e-6, f16: 3e-3, bf16: 2.4e-2 }

async function expectClose(got: Tensor, want: Tensor, dtype: DType, what: string) {
  expect([...got.shape], what).toEqual([...want.shape])
  const [a, b] = [await values(got), await values(want)]
  const limit = tolerance[dtype]! * b.reduce((most, v) => Math.max(most, Math.abs(v)), 1)
  for (const [i, v] of b.entries()) {
    if (!(Math.abs(a[i]! - v) <= limit)) expect.fail(`${what}[${i}]: ${a[i]} against ${v}`)
  }
}

const layouts: [string, number[], (t: Tensor) => Tensor, number[]][] = [
  ['dense', [300, 257], (t) => t, [300, 257]],
  ['transposed', [300, 257], (t) => t.transpose(0, 1), [257, 300]],
  ['broadcast rows', [64, 33], (t) => t, [33]],
  ['one element', [1], (t) => t, [1]],
  ['empty', [0, 5], (t) => t, [5]],
]

for (const dtype of ['f32', 'f16', 'bf16'] as const) {
  test.each(layouts)(
    `${dtype} %s: values and gradients of the host`,
    async (_, shape, of, other) => {
      const here = [shape, other].map((s) => randn(s, { device, dtype }))
      const there = here.map((t) => t.to('host:0').to({ dtype: 'f64' }).requiresGrad_())
      for (const t of here) t.requiresGrad_()
      const out = swiglu(of(here[0]!), here[1]!)
      const wanted = composed(of(there[0]!), there[1]!)
      expect(out.dtype).toBe(dtype)
      await expectClose(out, wanted, dtype, 'result')
      const seed = randn([...out.shape], { device, dtype })
      out.backward(seed)
      wanted.backward(seed.to('host:0').to({ dtype: 'f64' }))
      for (const i of [0, 1]) {
        await expectClose(here[i]!.grad!, there[i]!.grad!, dtype, `gradient ${i}`)
      }
    },
  )
}

test('a captured step gives the bits of eager steps', async () => {
  const start = randn([64, 64], { device })
  const x = randn([128, 64], { device })
  const train = async (graphed: boolean) => {
    const w = noGrad(() => start.add(0)).requiresGrad_()
    const optimizer = optim.sgd([w], { lr: 0.05, momentum: 0.9 })
    const step = () => {
      const y = x.matmul(w)
      const loss = swiglu(y, y).pow(2).mean()
      loss.backward()
      optimizer.step()
      w.zeroGrad()
      return loss.detach()
    }
    const losses: number[] = []
    const record = async (loss: Tensor) => losses.push(await loss.item())
    await record(step()) // the first step is eager on both sides: it makes gradient and momentum
    const graph = graphed ? captureGraph(step, { devices: device }) : undefined
    for (let i = 0; i < 4; i++) {
      graph?.replay()
      await record(graph?.result ?? step())
    }
    const end = await values(w)
    graph?.dispose()
    optimizer.dispose()
    return { losses, end }
  }
  const eager = await train(false)
  expect(eager.losses[4]).toBeLessThan(eager.losses[0]!)
  expect(await train(true)).toEqual(eager)
})

test('what it cannot do is a PluginError that says so', () => {
  const wide = zeros([4], { device, dtype: 'f64' })
  expect(() => swiglu(wide, wide)).toThrow(PluginError)
  expect(() => swiglu(wide, wide)).toThrow(/fused::swiglu .* f32, f16 or bf16/)
  const host = zeros([4], { device: 'host:0' })
  expect(() => swiglu(host, host)).toThrow(/plugin swiglu: .*has no kernel for host/)
})
