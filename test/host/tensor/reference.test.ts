// Every operator's result and gradients against values that PyTorch made (test/fixtures/make_reference.py).
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  allowTf32,
  type DType,
  functional as F,
  noGrad,
  optim,
  scope,
  type Tensor,
  tensor,
} from 'weft'
import { device } from '../device.js'

interface Packed {
  shape: number[]
  dtype: DType
  data: (number | null)[]
}
interface Case {
  name: string
  inputs: (Packed & { grad: boolean })[]
  args: Record<string, never>
  layout?: 'transposed'
  output: Packed
  gradOutput?: Packed
  grads?: (Packed | null)[]
}

allowTf32(false) // reference values are f32
const folder = new URL('../../fixtures/reference/', import.meta.url)
const load = (file: string) => JSON.parse(readFileSync(new URL(file, folder), 'utf8')).cases

function unpack(p: Packed): Tensor {
  const values = p.data.map((v) => (v === null ? Number.NaN : v))
  return tensor(values, { shape: p.shape, dtype: p.dtype, device })
}

type Args = Record<string, any>
const reduceOptions = (a: Args) => ({ keepDim: a['keepDim'] })
/** How each reference name is called here. */
const calls: Record<string, (t: Tensor[], a: Args) => Tensor> = {
  where: ([c, a, b]) => F.where(c!, a!, b!),
  gelu: ([x], a) => x!.gelu({ approximate: a['approximate'] }),
  clamp: ([x], a) => x!.clamp(a['min'] ?? -Infinity, a['max'] ?? Infinity),
  sum: ([x], a) => x!.sum(a['dim'] ?? undefined, reduceOptions(a)),
  mean: ([x], a) => x!.mean(a['dim'] ?? undefined, reduceOptions(a)),
  max: ([x], a) => x!.max(a['dim'] ?? undefined, reduceOptions(a)),
  min: ([x], a) => x!.min(a['dim'] ?? undefined, reduceOptions(a)),
  var: ([x], a) => x!.variance(a['dim'] ?? undefined, { ...reduceOptions(a), correction: 1 }),
  argmax: ([x], a) => x!.argmax(a['dim']?.[0], reduceOptions(a)),
  linear: ([x, w, b], a) => F.linear(x!, w!, b, { gelu: a['gelu'] ?? false }),
  softmax: ([x], a) => x!.softmax(a['dim']),
  logSoftmax: ([x], a) => x!.logSoftmax(a['dim']),
  crossEntropy: ([x, y], a) => F.crossEntropy(x!, y!, a),
  layerNorm: ([x, w, b], a) => F.layerNorm(x!, w, b, { eps: a['eps'] }),
  rmsNorm: ([x, w], a) => F.rmsNorm(x!, w, { eps: a['eps'] }),
  embedding: ([w, i]) => F.embedding(w!, i!),
  scaledDotProductAttention: ([q, k, v], a) =>
    F.scaledDotProductAttention(q!, k!, v!, { causal: a['causal'] }),
  view: ([x], a) => x!.view(a['shape']),
  reshape: ([x], a) => x!.transpose(a['first'][0], a['first'][1]).reshape(a['shape']),
  transpose: ([x], a) => x!.transpose(a['dims'][0], a['dims'][1]),
  permute: ([x], a) => x!.permute(a['dims']),
  select: ([x], a) => x!.select(a['dim'], a['index']),
  narrow: ([x], a) => x!.narrow(a['dim'], a['start'], a['length']),
  slice: ([x], a) => x!.slice(a['dim'], a['start'], a['stop'], a['step']),
  expand: ([x], a) => x!.expand(a['shape']),
  squeeze: ([x], a) => x!.squeeze(a['dim']),
  unsqueeze: ([x], a) => x!.unsqueeze(a['dim']),
  cat: (t, a) => F.cat(t, a['dim']),
  stack: (t, a) => F.stack(t, a['dim']),
  gather: ([x, i], a) => x!.gather(a['dim'], i!),
  to: ([x], a) => x!.to({ dtype: a['dtype'] }),
  contiguous: ([x], a) => x!.transpose(a['first'][0], a['first'][1]).contiguous(),
}

function run(c: Case, t: Tensor[]): Tensor {
  const special = calls[c.name]
  if (special) return special(t, c.args)
  const [x, y] = t as [any, Tensor?]
  return x[c.name](...('other' in c.args ? [c.args['other']] : y ? [y] : []))
}

// Relative to the largest value of the tensor; halves keep 11 and 8 bits of mantissa.
const tolerance: Record<string, number> = { f64: 1e-12, f32: 3e-6, f16: 2e-3, bf16: 1.6e-2 }

async function expectClose(got: Tensor, want: Packed, what: string, scale = 1) {
  expect([...got.shape], `${what}: shape`).toEqual(want.shape)
  expect(got.dtype, `${what}: dtype`).toBe(want.dtype)
  const values = Array.from((await got.data()) as ArrayLike<number | bigint>, Number)
  const largest = Math.max(1e-3, ...want.data.map((v) => Math.abs(v ?? 0)).filter(Number.isFinite))
  const limit = (tolerance[want.dtype] ?? 0) * largest * scale
  for (const [i, v] of want.data.entries()) {
    if (v === null) expect(values[i], `${what}[${i}]`).toBeNaN()
    else if (limit === 0) expect(values[i], `${what}[${i}]`).toBe(v)
    else
      expect(
        Math.abs(values[i]! - v),
        `${what}[${i}]: ${values[i]} against ${v}`,
      ).toBeLessThanOrEqual(limit)
  }
}

for (const file of readdirSync(folder).filter((f) => f !== 'optimizers.json')) {
  describe(file.replace('.json', ''), () => {
    for (const [n, c] of (load(file) as Case[]).entries()) {
      const shapes = c.inputs.map((i) => `${i.dtype}(${i.shape})`).join(', ')
      test(`${n} ${c.name} ${shapes} ${JSON.stringify(c.args)} ${c.layout ?? ''}`, async () => {
        const leaves = c.inputs.map((p) => (p.grad ? unpack(p).requiresGrad_() : unpack(p)))
        const inputs = leaves.map((t) =>
          c.layout && t.rank > 1 ? t.transpose(-1, -2).contiguous().transpose(-1, -2) : t,
        )
        const out = run(c, inputs)
        await expectClose(out, c.output, 'result')
        if (!c.gradOutput || !c.grads) return
        // The fused loss computes its statistics in f32 whatever the input.
        out.backward(unpack(c.gradOutput))
        const wanted = leaves.filter((t) => t.requiresGrad)
        for (const [i, grad] of c.grads.entries()) {
          const got = wanted[i]!.grad
          if (grad === null) expect(got).toBeNull()
          else await expectClose(got!, grad, `gradient ${i}`, grad.dtype === 'f64' ? 1e6 : 2)
        }
        for (const t of [out, ...inputs, ...leaves]) t.dispose()
      })
    }
  })
}

interface OptimizerRun {
  name: 'sgd' | 'adamw' | 'clip'
  options: Record<string, any>
  start: Packed[]
  norm?: number
  steps: { grads: Packed[]; params: Packed[] }[]
}

describe('optimizers', () => {
  for (const r of load('optimizers.json') as OptimizerRun[]) {
    test(`${r.name} ${JSON.stringify(r.options)}`, async () => {
      const { weight_decay, maxNorm, ...rest } = r.options
      const options = {
        ...rest,
        ...(weight_decay === undefined ? {} : { weightDecay: weight_decay }),
      }
      const params = r.start.map((p) => unpack(p).requiresGrad_())
      if (r.name === 'clip') {
        const norm = optim.clipGradNorm(
          params.map((p) => fakeGrad(p)),
          maxNorm,
        )
        expect(await norm.item()).toBeCloseTo(r.norm!, 5)
        for (const [i, p] of r.steps[0]!.params.entries())
          await expectClose(params[i]!.grad!, p, 'clipped', 4)
        return
      }
      const optimizer =
        r.name === 'sgd'
          ? optim.sgd(params, options as never)
          : optim.adamw(params, options as never)
      for (const [n, step] of r.steps.entries()) {
        optimizer.zeroGrad()
        for (const [i, g] of step.grads.entries()) {
          scope(() => params[i]!.mul(unpack(g)).sum().backward())
        }
        optimizer.step()
        for (const [i, p] of step.params.entries()) await expectClose(params[i]!, p, `step ${n}`, 4)
      }
    })
  }
})

/** Gives a parameter itself as its gradient. */
function fakeGrad(p: Tensor): Tensor {
  const self = noGrad(() => p.clone())
  scope(() => p.mul(self).sum().backward())
  return p
}
