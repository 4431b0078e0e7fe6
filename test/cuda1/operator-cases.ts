// What operator-matrix.test.ts runs: inputs, operators and memory layouts.
import { autocast, type DType, disposeAll, functional as F, type Tensor } from 'weft'

const made: Tensor[] = []
/** Notes a tensor for disposeMade(). */
export function own(t: Tensor): Tensor {
  made.push(t)
  return t
}
export function disposeMade(): void {
  disposeAll(made)
  made.length = 0
}

export interface Input {
  shape: number[]
  /** Range of values; integers are floored. */
  low?: number
  high?: number
  /** Kept whatever the dtype under test. */
  dtype?: DType
  /** Taken as given, without a layout or gradient. */
  plain?: boolean
}
export interface Case {
  name: string
  inputs: Input[]
  run: (t: Tensor[]) => Tensor
  dtypes?: DType[]
  layouts?: Layout[]
  /** No gradient is asked for. */
  forward?: boolean
  /** Factor on the tolerance, with the reason beside it in the table. */
  loose?: number
}

// Views that put the values of `t` differently in memory; each is differentiable.
export const layouts = {
  contiguous: (t: Tensor) => t,
  transposed: (t: Tensor) =>
    t.rank < 2 ? t : own(own(own(t.transpose(-1, -2)).contiguous()).transpose(-1, -2)),
  sliced: (t: Tensor) => {
    if (t.rank === 0) return t
    const pad = own(t.narrow(-1, 0, Math.min(1, t.size(-1))))
    return own(own(F.cat([pad, t], -1)).narrow(-1, Math.min(1, t.size(-1)), t.size(-1)))
  },
  unaligned: (t: Tensor) => {
    if (t.numel === 0) return t
    const flat = own(t.reshape([t.numel]))
    const longer = own(F.cat([own(flat.narrow(0, 0, 1)), flat], 0))
    return own(own(longer.narrow(0, 1, t.numel)).view([...t.shape]))
  },
  broadcast: (t: Tensor) =>
    t.rank === 0 || t.size(0) === 0 ? t : own(own(t.narrow(0, 0, 1)).expand([...t.shape])),
  empty: (t: Tensor) => (t.rank === 0 ? t : own(t.narrow(0, 0, 0))),
}
export type Layout = keyof typeof layouts
export const allLayouts = Object.keys(layouts) as Layout[]
export const noEmpty = allLayouts.filter((l) => l !== 'empty')

export const floats: DType[] = ['f32', 'f64', 'f16', 'bf16']
export const integers: DType[] = ['i64', 'i32', 'u8']
const square: Input = { shape: [37, 53], low: -3, high: 3 }
const positive: Input = { shape: [37, 53], low: 0.25, high: 4 }
const wide: Input = { shape: [5, 1031], low: -3, high: 3 }

/** Both norms over rows of `cols`, and with results in bf16 as in a region of mixed precision. */
function norms(count: number, cols: number): Case[] {
  const x: Input = { shape: [count, cols], low: -4, high: 4 }
  const weight: Input = { shape: [cols], low: 0.5, high: 1.5 }
  const rest = {
    layouts: ['contiguous', 'transposed', 'sliced', 'unaligned'] as Layout[],
    loose: count > 1000 ? 16 : 4, // gradients of weight and bias are sums over rows
  }
  const layer = ([t, w, b]: Tensor[]) => F.layerNorm(t!, w, b)
  const rms = ([t, w]: Tensor[]) => F.rmsNorm(t!, w)
  const size = `${count} x ${cols}`
  return [
    { name: `layerNorm ${size}`, inputs: [x, weight, weight], run: layer, ...rest },
    { name: `rmsNorm ${size}`, inputs: [x, weight], run: rms, ...rest },
    ...[layer, rms].map(
      (run): Case => ({
        name: `${run === layer ? 'layerNorm' : 'rmsNorm'} ${size} to bf16`,
        inputs: run === layer ? [x, weight, weight] : [x, weight],
        run: (t) => autocast('bf16', () => run(t)),
        dtypes: ['f32'],
        ...rest,
      }),
    ),
  ]
}

const unary: [string, Input, ((t: Tensor) => Tensor)?, boolean?][] = [
  ['neg', square],
  ['abs', square],
  ['sign', square],
  ['reciprocal', positive],
  ['exp', square],
  ['log', positive],
  ['sqrt', positive],
  ['rsqrt', positive],
  ['sin', square],
  ['cos', square],
  ['tanh', square],
  ['sigmoid', square],
  ['relu', square],
  ['silu', square],
  ['softplus', square, (t) => t.softplus({ beta: 2, threshold: 1 })],
  ['gelu', square, (t) => t.gelu()],
  ['gelu tanh', square, (t) => t.gelu({ approximate: 'tanh' })],
  ['clamp', square, (t) => t.clamp(-1, 1.5)],
  ['add 2', square, (t) => t.add(2)],
  ['sub 2', square, (t) => t.sub(2)],
  ['1 - x', square, (t) => F.sub(1, t)],
  ['mul 3', square, (t) => t.mul(3)],
  ['div 4', square, (t) => t.div(4)],
  ['1 / x', positive, (t) => F.div(1, t)],
  ['pow 2', square, (t) => t.pow(2)],
  ['pow 3', square, (t) => t.pow(3)],
  ['pow 0.5', positive, (t) => t.pow(0.5)],
  ['pow 1.7', positive, (t) => t.pow(1.7)],
  ['maximum 0.5', square, (t) => t.maximum(0.5)],
  ['minimum 0.5', square, (t) => t.minimum(0.5)],
  ['lt 0.5', square, (t) => t.lt(0.5), true],
  ['ge 0.5', square, (t) => t.ge(0.5), true],
  ['logicalNot', square, (t) => F.logicalNot(t), true],
  ['isfinite', square, (t) => F.isFinite(t), true],
  ['clone', square],
  ['contiguous', square],
]
const binary: [string, Input, Input, boolean?][] = [
  ['add', square, square],
  ['sub', square, square],
  ['mul', square, square],
  ['div', square, positive],
  ['pow', positive, square],
  ['maximum', square, square],
  ['minimum', square, square],
  ['eq', square, square, true],
  ['ne', square, square, true],
  ['lt', square, square, true],
  ['le', square, square, true],
  ['gt', square, square, true],
  ['ge', square, square, true],
]
const reductions: [string, (t: Tensor) => Tensor][] = [
  ['sum', (t) => t.sum()],
  ['sum 0', (t) => t.sum(0)],
  ['sum 1', (t) => t.sum(1)],
  ['sum keepDim', (t) => t.sum(1, { keepDim: true })],
  ['mean', (t) => t.mean()],
  ['mean 0', (t) => t.mean(0)],
  ['mean 1', (t) => t.mean(1)],
  ['var', (t) => t.variance()],
  ['var 0', (t) => t.variance(0)],
  ['var 1', (t) => t.variance(1, { correction: 0 })],
]
const orders: [string, (t: Tensor) => Tensor, boolean?][] = [
  ['max', (t) => t.max()],
  ['max 0', (t) => t.max(0)],
  ['max 1', (t) => t.max(1)],
  ['min', (t) => t.min()],
  ['min 0', (t) => t.min(0)],
  ['argmax', (t) => t.argmax(), true],
  ['argmax 0', (t) => t.argmax(0), true],
  ['argmax 1', (t) => t.argmax(1), true],
]
const classes: Input = { shape: [9], low: 0, high: 611, dtype: 'i64', plain: true }
const rows: Input = { shape: [200], low: 0, high: 23, dtype: 'i64', plain: true }

export const cases: Case[] = [
  ...unary.map(([name, input, run, forward]): Case => {
    const call = run ?? ((t: Tensor) => (t as any)[name]())
    return { name, inputs: [input], run: ([x]) => call(x!), forward: forward ?? false }
  }),
  ...binary.map(
    ([name, a, b, forward]): Case => ({
      name,
      inputs: [a, b],
      run: ([x, y]) => (x as any)[name](y),
      forward: forward ?? false,
    }),
  ),
  {
    name: 'add row',
    inputs: [square, { ...square, shape: [53] }],
    run: ([x, y]) => x!.add(y!),
    layouts: noEmpty,
  },
  {
    name: 'mul column',
    inputs: [square, { ...square, shape: [37, 1] }],
    run: ([x, y]) => x!.mul(y!),
    layouts: noEmpty,
  },
  {
    name: 'where',
    inputs: [{ shape: [37, 53], low: 0, high: 2, dtype: 'bool', plain: true }, square, square],
    run: ([c, x, y]) => F.where(c!, x!, y!),
    layouts: noEmpty,
  },
  ...reductions.flatMap(([name, call]): Case[] =>
    [
      square,
      wide,
      { ...square, shape: [6, 5, 7, 11] },
      { ...square, shape: [3000, 40] },
      { ...square, shape: [130, 1032] },
    ].map((input) => ({
      name: `${name} (${input.shape})`,
      inputs: [input],
      run: ([x]) => call(x!),
      layouts: noEmpty,
      loose: 4, // sums of up to 120000 numbers
    })),
  ),
  ...orders.flatMap(([name, call, forward]): Case[] =>
    [square, wide, { ...square, shape: [3000, 40] }].map((input) => ({
      name: `${name} (${input.shape})`,
      inputs: [input],
      run: ([x]) => call(x!),
      layouts: noEmpty,
      forward: forward ?? false,
    })),
  ),
  ...[53, 1031, 5003].flatMap((cols): Case[] => {
    const x: Input = { shape: [9, cols], low: -4, high: 4 }
    return [
      { name: `softmax ${cols}`, inputs: [x], run: ([t]) => t!.softmax(-1) },
      { name: `logSoftmax ${cols}`, inputs: [x], run: ([t]) => t!.logSoftmax(-1), loose: 2 },
    ]
  }),
  ...[53, 128, 256, 384, 768, 1024, 5003].flatMap((cols): Case[] => {
    const x: Input = { shape: [9, cols], low: -2, high: 2 }
    const weight: Input = { shape: [cols], low: 0.5, high: 1.5 }
    return [
      {
        name: `addLayerNorm ${cols}`,
        inputs: [x, x, weight, weight],
        run: ([t, r, w, b]) => joined(F.addLayerNorm(t!, r!, w, b)),
        layouts: ['contiguous', 'transposed', 'sliced', 'unaligned'],
        loose: 4, // gradients of weight and bias are sums over rows
      },
      {
        name: `addRmsNorm ${cols}`,
        inputs: [x, x, weight],
        run: ([t, r, w]) => joined(F.addRmsNorm(t!, r!, w)),
        layouts: ['contiguous', 'transposed', 'sliced', 'unaligned'],
        loose: 4,
      },
      // As in a region of bf16: a stream of f32, a branch that is low; the norm and its gradient alone.
      ...(['bf16', 'f16'] as const).map(
        (low): Case => ({
          name: `addLayerNorm ${cols} beside ${low}`,
          inputs: [x, x, weight, weight],
          run: ([t, r, w, b]) =>
            autocast(low, () => joined(F.addLayerNorm(own(t!.to({ dtype: low })), r!, w, b))),
          layouts: ['contiguous', 'sliced', 'unaligned'],
          dtypes: ['f32'],
          loose: 4000, // rounded to a dtype of 8 bits where the reference, in f64, is not
        }),
      ),
    ]
  }),
  // Rows that a warp holds, with each number of packs a lane, and longer and crooked ones; more rows than warps.
  ...[4, 53, 128, 200, 384, 512, 768, 1024, 1028, 1031, 5003].flatMap((cols) => norms(9, cols)),
  ...norms(2500, 96),
  {
    name: 'add of a residual',
    inputs: [square, square],
    run: ([x, y]) => own(x!.to({ dtype: 'f32' })).add(y!),
    dtypes: ['f16', 'bf16'],
    layouts: noEmpty,
  },
  {
    name: 'add to a residual',
    inputs: [square, { ...square, shape: [53] }],
    run: ([x, y]) => x!.add(own(y!.to({ dtype: 'f32' }))),
    dtypes: ['f16', 'bf16'],
    layouts: noEmpty,
  },
  ...(['mean', 'sum', 'none'] as const).flatMap((reduction): Case[] =>
    [0, 0.1].map((labelSmoothing) => ({
      name: `crossEntropy ${reduction} ${labelSmoothing}`,
      inputs: [{ shape: [9, 611], low: -4, high: 4 }, classes],
      run: ([x, y]) => F.crossEntropy(x!, y!, { reduction, labelSmoothing, ignoreIndex: 3 }),
      layouts: ['contiguous', 'transposed', 'sliced', 'unaligned'],
      loose: 4,
    })),
  ),
  ...(['mean', 'sum', 'none'] as const).flatMap((reduction): Case[] =>
    [0, 4].map((chunkRows) => ({
      name: `linearCrossEntropy ${reduction}, ${chunkRows || 'all'} rows at a time`,
      inputs: [
        { shape: [9, 67], low: -1, high: 1 },
        { shape: [611, 67], low: -0.5, high: 0.5 },
        { shape: [611], low: -1, high: 1 },
        classes,
      ],
      run: ([x, weight, bias, y]) =>
        F.linearCrossEntropy(x!, weight!, y!, {
          bias: bias!,
          reduction,
          ignoreIndex: 3,
          chunkRows,
        }),
      layouts: ['contiguous', 'transposed', 'sliced', 'unaligned'],
      // Sums of products. In f64 sums and scales of losses are f32, as statistics of losses are.
      dtypes: ['f32', 'f16', 'bf16'],
      loose: 8,
    })),
  ),
  {
    name: 'embedding',
    inputs: [{ shape: [23, 65], low: -2, high: 2 }, rows],
    run: ([w, i]) => F.embedding(w!, i!),
    layouts: ['contiguous', 'transposed', 'sliced', 'unaligned'],
    loose: 4, // rows that are summed up to 20 times
  },
  {
    name: 'embedding of one row',
    inputs: [
      { shape: [3, 64], low: -1, high: 1 },
      { ...rows, shape: [2000], low: 1, high: 2 },
    ],
    run: ([w, i]) => F.embedding(w!, i!),
    layouts: ['contiguous'],
    loose: 16, // a row that is summed 2000 times
  },
  ...[7, 300].map(
    (count): Case => ({
      name: `gather ${count}`,
      inputs: [
        { shape: [5, 31], low: -2, high: 2 },
        { shape: [5, count], low: 0, high: 31, dtype: 'i64', plain: true },
      ],
      run: ([x, i]) => x!.gather(1, i!),
      layouts: ['contiguous', 'transposed', 'unaligned'],
      loose: 4,
    }),
  ),
  // Halves of 16 bytes' packs, and ones that are not.
  ...[32, 6].map((width): Case => {
    const table: Input = { shape: [7, width / 2], low: -1, high: 1, dtype: 'f32', plain: true }
    return {
      name: `rotary ${width}`,
      inputs: [{ shape: [2, 5, 3, 2, width], low: -2, high: 2 }, table, table],
      run: ([x, cos, sin]) => F.rotary(x!, cos!, sin!, 2),
      layouts: noEmpty,
      loose: 2, // a sum of two products
    }
  }),
  ...[false, true].map(
    (causal): Case => ({
      name: `packedAttention ${causal ? 'causal' : 'all'}`,
      inputs: [{ shape: [2, 37, 3, 4, 32], low: -1, high: 1 }],
      run: ([qkv]) => F.packedAttention(qkv!, { causal }),
      dtypes: ['f32', 'f64'], // the kernels' own check holds the others to their bounds
      layouts: ['contiguous', 'transposed', 'sliced', 'unaligned'],
      loose: 16, // log-sum-exp is f32; sums over keys
    }),
  ),
  { name: 'permute', inputs: [{ ...square, shape: [6, 35, 70] }], run: permuted, layouts: noEmpty },
  ...(['f32', 'f64', 'f16', 'bf16'] as DType[]).map(
    (dtype): Case => ({
      name: `to ${dtype}`,
      inputs: [square],
      run: ([x]) => x!.to({ dtype }),
      loose: 8, // f64 and f32 through a 16-bit dtype; the dtype of the result decides
    }),
  ),
]
/** Both results of a norm of a sum, in one tensor. */
function joined([sum, norm]: [Tensor, Tensor]): Tensor {
  const wide = norm.dtype === sum.dtype ? norm : own(norm.to({ dtype: sum.dtype }))
  return F.cat([own(sum), own(wide)], 0)
}
function permuted([x]: Tensor[]): Tensor {
  return own(x!.permute([2, 0, 1])).contiguous()
}
