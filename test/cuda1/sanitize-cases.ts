// Cases beside those of operator-cases.ts, for sanitize.ts: matrix products and attention of odd and of
// tile-sized shapes, views, joining, copies in place, random numbers and the rest of the operators.
import {
  arange,
  functional as F,
  noGrad,
  rand,
  randint,
  randn,
  type Tensor,
  tensor,
  zerosLike,
} from 'weft'
import { type Case, type Input, own } from './operator-cases.js'

const values = (...shape: number[]): Input => ({ shape, low: -1, high: 1 })

const products: Case[] = [
  [33, 65, 17],
  [64, 64, 64],
  [128, 128, 128],
  [129, 130, 131],
  [257, 256, 96],
  [1, 40, 300],
].flatMap(([m, n, k]): Case[] => [
  {
    name: `matmul ${m}x${n}x${k}`,
    inputs: [values(m!, k!), values(k!, n!)],
    run: ([a, b]) => a!.matmul(b!),
  },
  {
    name: `linear ${m}x${n}x${k}`,
    inputs: [values(m!, k!), values(n!, k!), values(n!)],
    run: ([x, w, b]) => F.linear(x!, w!, b!),
  },
])

const attention: Case[] = [
  [64, 64, 32, 0],
  [65, 65, 64, 1],
  [70, 150, 128, 0],
  [33, 33, 80, 1],
  [40, 40, 160, 1],
].map(
  ([queries, keys, width, causal]): Case => ({
    name: `attention ${queries}x${keys}x${width}`,
    inputs: [
      values(1, 2, queries!, width!),
      values(1, 2, keys!, width!),
      values(1, 2, keys!, width!),
    ],
    run: ([q, k, v]) => F.scaledDotProductAttention(q!, k!, v!, { causal: causal === 1 }),
  }),
)

/** In place on a copy of the input, which needs no gradient then. */
function inPlace(name: string, write: (copy: Tensor, other: Tensor) => void): Case {
  const run = ([a, b]: Tensor[]) =>
    noGrad(() => {
      const copy = own(a!.clone())
      write(copy, b!)
      return copy
    })
  return {
    name,
    inputs: [values(37, 53), { shape: [37, 53], low: 1, high: 2 }],
    run,
    forward: true,
  }
}
/** Made on the device and dtype of its input. */
function creation(name: string, make: (like: Tensor) => Tensor): Case {
  return { name, inputs: [values(3)], run: ([x]) => make(x!), forward: true, dtypes: ['f32'] }
}

const movement: [string, (t: Tensor) => Tensor][] = [
  ['select', (t) => own(t.select(1, 3)).mul(2)],
  ['narrow', (t) => own(t.narrow(1, 1, 7)).mul(2)],
  ['split', (t) => F.cat(t.split(20, 1).map(own).reverse(), 1)],
  ['unbind', (t) => F.stack(t.unbind(1).map(own).reverse(), 1)],
  ['transpose', (t) => own(t.transpose(0, 1)).mul(2)],
  ['slice', (t) => own(t.slice(1, 1, 50, 3)).mul(2)],
  ['expand', (t) => own(own(t.unsqueeze(1)).expand([37, 5, 53])).mul(2)],
  ['squeeze', (t) => own(own(t.unsqueeze(0)).squeeze(0)).mul(2)],
  ['detach', (t) => own(t.detach()).mul(2)],
  ['to a device', (t) => own(own(t.to({ device: 'host:0' })).to({ device: t.device })).mul(2)],
]

export const furtherCases: Case[] = [
  ...products,
  {
    name: 'matmul batched',
    inputs: [values(3, 33, 17), values(3, 17, 40)],
    run: ([a, b]) => a!.matmul(b!),
  },
  {
    name: 'linear gelu',
    inputs: [values(65, 48), values(96, 48), values(96)],
    run: ([x, w, b]) => F.linear(x!, w!, b!, { gelu: true }),
  },
  ...attention,
  ...movement.map(
    ([name, run]): Case => ({ name, inputs: [values(37, 53)], run: ([t]) => run(t!) }),
  ),
  {
    name: 'cat',
    inputs: [values(5, 7), values(5, 8)],
    run: ([a, b]) => F.cat([a!, b!], 1),
  },
  {
    name: 'stack',
    inputs: [values(5, 7), values(5, 7)],
    run: ([a, b]) => F.stack([a!, b!], 1),
  },
  { name: 'dropout', inputs: [values(37, 53)], run: ([x]) => F.dropout(x!, 0.3) },
  inPlace('add_', (a, b) => void a.add_(b)),
  inPlace('sub_', (a, b) => void a.sub_(b)),
  inPlace('mul_', (a, b) => void a.mul_(b)),
  inPlace('div_', (a, b) => void a.div_(b)),
  inPlace('add_ 2', (a) => void a.add_(2)),
  inPlace('mul_ 2', (a) => void a.mul_(2)),
  inPlace('copy_', (a, b) => void a.copy_(b)),
  inPlace('fill_', (a) => void a.fill_(3)),
  inPlace('zero_', (a) => void a.zero_()),
  ...(['le', 'gt', 'eq', 'ne'] as const).map(
    (name): Case => ({
      name: `${name} 0.5`,
      inputs: [values(37, 53)],
      run: ([x]) => x![name](0.5),
      forward: true,
    }),
  ),
  creation('rand', ({ device }) => rand([1031], { device })),
  creation('randn', ({ device }) => randn([1031], { device })),
  creation('randint', ({ device }) => randint(0, 9, [1031], { device })),
  creation('arange', ({ device }) => arange(1031, { device })),
  creation('zeros', (x) => zerosLike(x)),
  creation('i64', ({ device }) => own(tensor([3n, 4n], { device })).sum()),
]
