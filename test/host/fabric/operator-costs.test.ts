// What records of operators say of bytes and FLOP in log mode timing, against figures made by hand from the shapes:
// forward, gradient, views, lookups, in-place work and optimizers.
import { afterEach, beforeAll, expect, test } from 'vitest'
import {
  functional as F,
  type Fabric,
  noGrad,
  openFabric,
  optim,
  randint,
  randn,
  type SnapshotEvent,
  scope,
  setDefaultDevice,
  type Tensor,
} from 'weft'
import { device } from '../device.js'

let fabric: Fabric
beforeAll(async () => {
  fabric = await openFabric({ devices: [device] })
  setDefaultDevice(device)
})
afterEach(() => {
  fabric.logMode = 'off'
})

/** [movedBytes, flop] of each record of work that `run` makes, by name, in order. */
function costs(run: () => unknown, mode: 'basic' | 'timing' = 'timing') {
  fabric.logMode = mode
  const since = fabric.snapshot({ limit: 0 }).nextSequence
  scope(() => void run())
  const events = fabric.snapshot({ since, limit: 1000 }).events
  fabric.logMode = 'off'
  const found: Record<string, [number | undefined, number | undefined][]> = {}
  const operators = events.filter((event: SnapshotEvent) => event.kind === 'operator')
  for (const { name, movedBytes, flop } of operators) {
    found[name!] = [...(found[name!] ?? []), [movedBytes, flop]]
  }
  return found
}

const leaf = (...shape: number[]) => randn(shape).requiresGrad_()
const none = [undefined, undefined]

test('matrix products: 2nkm, and as much again for each gradient', () => {
  const [a, b] = [leaf(6, 5), leaf(5, 7)]
  const found = costs(() => a.matmul(b).sum().backward())
  expect(found.matmul).toEqual([[4 * (6 * 5 + 5 * 7 + 6 * 7), 2 * 6 * 5 * 7]])
  // The gradient that comes is one element, repeated; a and b were kept.
  const written = 6 * 5 + 5 * 7
  expect(found['matmul.backward']).toEqual([[4 * (1 + 2 * written), 2 * 2 * 6 * 5 * 7]])
  const one = costs(() => a.detach().matmul(b).sum().backward())
  expect(one['matmul.backward']![0]![1]).toBe(2 * 6 * 5 * 7)
  const batched = costs(() => noGrad(() => randn([3, 6, 5]).matmul(randn([3, 5, 7]))))
  expect(batched.matmul![0]![1]).toBe(3 * 2 * 6 * 5 * 7)
})

test('linear layers, with half the bytes in bf16', () => {
  const [x, weight, bias] = [leaf(4, 6, 8), leaf(16, 8), leaf(16)]
  const elements = 4 * 6 * 8 + 16 * 8 + 16 + 4 * 6 * 16
  const found = costs(() => F.linear(x, weight, bias).sum().backward())
  expect(found.linear).toEqual([[4 * elements, 2 * 24 * 8 * 16]])
  expect(found['linear.backward']![0]![1]).toBe(2 * 2 * 24 * 8 * 16)
  const low = [x, weight, bias].map((t) => t.detach().to('bf16')) as [Tensor, Tensor, Tensor]
  expect(costs(() => F.linear(...low)).linear).toEqual([[2 * elements, 2 * 24 * 8 * 16]])
})

test('attention: two products forward, five backward, of the pairs that a mask leaves', () => {
  const [batch, heads, length, width] = [2, 3, 8, 16]
  const made = () => leaf(batch, heads, length, width)
  const [q, k, v] = [made(), made(), made()]
  const rows = batch * heads * width
  const all = 4 * rows * length * length
  const full = costs(() => F.scaledDotProductAttention(q, k, v).sum().backward())
  expect(full.attention![0]![1]).toBe(all)
  expect(full['attention.backward']![0]![1]).toBe((all / 2) * 5)
  const causal = (4 * rows * length * (length + 1)) / 2
  const masked = () => F.scaledDotProductAttention(q, k, v, { causal: true })
  expect(costs(masked).attention![0]![1]).toBe(causal)
  const packed = leaf(batch, length, 3, heads, width)
  const found = costs(() => F.packedAttention(packed, { causal: true }).sum().backward())
  expect(found.attention_packed![0]![1]).toBe(causal)
  expect(found['attention_packed.backward']![0]![1]).toBe((causal / 2) * 5)
})

test('elementwise work, broadcasts, views and what passes a gradient on', () => {
  const [a, row] = [leaf(10, 20), leaf(20)]
  const found = costs(() => {
    const sum = a.add(row)
    const turned = sum.transpose(0, 1)
    turned.relu().sum().backward()
  })
  expect(found.add).toEqual([[4 * (200 + 20 + 200), 0]])
  expect(found.transpose).toEqual([none])
  expect(found.relu).toEqual([[4 * 400, 0]])
  expect(found['transpose.backward']).toEqual([none])
  expect(found['sum.backward']).toEqual([none]) // an expanded element
  const wide = row.detach().reshape([1, 20]).expand([10, 20])
  expect(costs(() => wide.exp()).exp).toEqual([[4 * (20 + 200), 0]])
})

test('lookups count the rows that they take, in-place work what it writes', () => {
  const table = randn([1000, 8])
  const indices = randint(0, 1000, [12], { dtype: 'i64' })
  const taken = costs(() => F.embedding(table, indices))
  expect(taken.embedding).toEqual([[12 * 8 + 2 * 4 * 12 * 8, 0]])
  const t = randn([100])
  const found = costs(() =>
    noGrad(() => {
      t.zero_()
      t.copy_(randn([100]))
      t.add_(t)
    }),
  )
  expect(found.zero_).toEqual([[400, 0]])
  expect(found.copy_).toEqual([[800, 0]])
  expect(found.add_).toEqual([[1200, 0]])
})

test('optimizers and clipping read and write each tensor', () => {
  const parameters = [leaf(30, 2), leaf(40)]
  const optimizer = optim.adamw(parameters, { lr: 0.1 })
  const backward = () => parameters[0]!.sum().add(parameters[1]!.sum()).backward()
  scope(backward)
  scope(() => optimizer.step())
  const found = costs(() => {
    optim.clipGradNorm(parameters, 1)
    optimizer.step()
  })
  expect(found.clip_grad_norm![0]![0]).toBeGreaterThanOrEqual(3 * 4 * 100)
  // Parameters and two moments are read and written, gradients read.
  expect(found.adamw_step).toEqual([[7 * 4 * 100, 0]])
})

test('the other modes do not compute them', () => {
  const a = randn([8, 8])
  expect(costs(() => a.matmul(a), 'basic').matmul).toEqual([none])
})
