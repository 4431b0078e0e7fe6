// Collectives with gradients against the single-device program: values, gradients, ranks whose result
// nobody uses, errors; and that no host thread waits for a device in the backward pass.
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  backward,
  collectives,
  DeviceError,
  type Fabric,
  type Group,
  noGrad,
  openFabric,
  ShapeError,
  type Tensor,
  tensor,
  UsageError,
} from 'weft'
import { faults } from 'weft/testing'
import { hostOnly, several } from '../device.js'

const ranks = 3
let fabric: Fabric
let group: Group
beforeAll(async () => {
  fabric = await openFabric(several(ranks))
  group = fabric.group()
})
afterAll(() => group.dispose())

const leaf = (values: number[] | number[][], device: string) =>
  tensor(values, { device, requiresGrad: true })
/** Two rows a rank: 10r, 10r+1 … */
const leaves = (rows = 2) =>
  group.devices.map((device, r) =>
    leaf(
      Array.from({ length: rows }, (_, i) => [10 * r + 2 * i, 10 * r + 2 * i + 1]),
      device,
    ),
  )
const values = (tensors: readonly (Tensor | null)[]) =>
  Promise.all(tensors.map((t) => t?.toArray() ?? null))
const grads = (tensors: readonly Tensor[]) => values(tensors.map((t) => t.grad))

/** Sum over ranks of (r + 1) times the sum of result r: every result has a weight of its own. */
function weighted(results: readonly Tensor[]): void {
  backward(results.map((y, r) => y.sum().mul(r + 1)))
}
const filled = (value: number, rows = 2) => Array.from({ length: rows }, () => [value, value])

test('all-reduce: every input gets the sum of what all results pass back', async () => {
  const x = leaves(1)
  const y = collectives.allReduce(group, x)
  expect(await values(y)).toEqual(x.map(() => [[30, 33]]))
  expect(y[0]!.gradFn).toBe('all_reduce')
  weighted(y)
  expect(await grads(x)).toEqual(x.map(() => filled(1 + 2 + 3, 1)))
  expect(await values(x)).toEqual([[[0, 1]], [[10, 11]], [[20, 21]]]) // not in place
})

test('all-reduce avg divides values and gradients by the ranks', async () => {
  const x = leaves(1)
  const y = collectives.allReduce(group, x, { op: 'avg' })
  expect(await values(y)).toEqual(x.map(() => [[10, 11]]))
  weighted(y)
  expect(await grads(x)).toEqual(x.map(() => filled(2, 1)))
})

test('all-reduce max and min: the gradient goes to the ranks that have the extreme, in equal shares', async () => {
  const x = [
    [1, 5, 7],
    [4, 5, 7],
    [2, 3, 7],
  ].map((row, r) => leaf(row, group.devices[r]!))
  const largest = collectives.allReduce(group, x, { op: 'max' })
  expect(await values(largest)).toEqual(x.map(() => [4, 5, 7]))
  weighted(largest) // every copy of the result adds its weight: 1 + 2 + 3
  expect(await grads(x)).toEqual([
    [0, 3, 2],
    [6, 3, 2],
    [0, 0, 2],
  ])
  for (const t of x) t.zeroGrad()
  weighted(collectives.allReduce(group, x, { op: 'min' }))
  expect(await grads(x)).toEqual([
    [6, 0, 2],
    [0, 0, 2],
    [0, 6, 2],
  ])
})

test('all-gather and reduce-scatter are each other’s gradients', async () => {
  const x = leaves(1)
  const y = collectives.allGather(group, x)
  const all = [
    [0, 1],
    [10, 11],
    [20, 21],
  ]
  expect(await values(y)).toEqual(x.map(() => all))
  // Row s of result r has weight (r + 1) · (s + 1).
  backward(
    y.map((t, r) =>
      t
        .mul(tensor([[1], [2], [3]], { device: t.device }))
        .sum()
        .mul(r + 1),
    ),
  )
  expect(await grads(x)).toEqual([filled(6, 1), filled(12, 1), filled(18, 1)])

  const z = leaves(3)
  const parts = collectives.reduceScatter(group, z)
  expect(await values(parts)).toEqual([[[30, 33]], [[36, 39]], [[42, 45]]])
  weighted(parts)
  expect(await grads(z)).toEqual(z.map(() => [...filled(1, 1), ...filled(2, 1), ...filled(3, 1)]))
})

test('broadcast and reduce are each other’s gradients, from any root', async () => {
  const x = leaf([[1, 2]], group.devices[1]!)
  const copies = collectives.broadcast(group, x, { root: 1 })
  expect(await values(copies)).toEqual(group.devices.map(() => [[1, 2]]))
  weighted(copies)
  expect(await x.grad!.toArray()).toEqual(filled(6, 1))

  const y = leaves(1)
  const sum = collectives.reduce(group, y, { root: 2 })
  expect(sum.device).toBe(group.devices[2])
  expect(await sum.toArray()).toEqual([[30, 33]])
  sum.sum().mul(5).backward()
  expect(await grads(y)).toEqual(y.map(() => filled(5, 1)))
})

test('scatter, gather and all-to-all take uneven parts', async () => {
  const x = leaf([[0], [1], [2], [3], [4], [5]], group.devices[0]!)
  const parts = collectives.scatter(group, x, { sizes: [1, 2, 3] })
  expect(await values(parts)).toEqual([[[0]], [[1], [2]], [[3], [4], [5]]])
  weighted(parts)
  expect(await x.grad!.toArray()).toEqual([[1], [2], [2], [3], [3], [3]])

  const y = group.devices.map((device, r) => leaf(new Array(r + 1).fill([r]), device))
  const joined = collectives.gather(group, y, { root: 1 })
  expect(await joined.toArray()).toEqual([[0], [1], [1], [2], [2], [2]])
  joined
    .mul(tensor([[1], [2], [3], [4], [5], [6]], { device: joined.device }))
    .sum()
    .backward()
  expect(await grads(y)).toEqual([[[1]], [[2], [3]], [[4], [5], [6]]])

  const z = leaves(4)
  const mixed = collectives.allToAll(group, z, { sizes: [0, 1, 3], splitDim: 0, joinDim: 1 })
  expect(mixed.map((t) => t.shape)).toEqual([
    [0, 6],
    [1, 6],
    [3, 6],
  ])
  expect(await mixed[1]!.toArray()).toEqual([[0, 1, 10, 11, 20, 21]])
  weighted(mixed)
  expect(await grads(z)).toEqual(z.map(() => [...filled(2, 1), ...filled(3, 3)]))
})

test('a rank whose result is not used counts as zeros', async () => {
  const x = leaves(1)
  const y = collectives.allReduce(
    group,
    x.map((t) => t.mul(2)),
  )
  y[1]!.sum().backward()
  expect(await grads(x)).toEqual(x.map(() => filled(2, 1)))
})

test('an input without gradients gets none', async () => {
  const x = leaves(1)
  x[1]!.requiresGrad_(false)
  weighted(collectives.allReduce(group, x))
  expect(await grads(x)).toEqual([filled(6, 1), null, filled(6, 1)])
})

test('what does not fit is named, and the group works afterwards', async () => {
  const x = leaves(1)
  expect(() => collectives.allReduce(group, x, { op: 'prod' })).toThrow(UsageError)
  expect(await values(noGrad(() => collectives.allReduce(group, x, { op: 'max' })))).toEqual(
    x.map(() => [[20, 21]]),
  )
  expect(() => collectives.allReduce(group, x.slice(1))).toThrow(UsageError)
  expect(() => collectives.allReduce(group, x.toReversed())).toThrow(DeviceError)
  expect(() => collectives.reduceScatter(group, leaves(2))).toThrow(ShapeError)
  expect(() => collectives.broadcast(group, x[0]!, { root: 7 })).toThrow(UsageError)
  expect(() => collectives.scatter(group, x[0]!, { sizes: [2, 2, 2] })).toThrow(ShapeError)
  const y = collectives.allReduce(group, x)
  expect(await y[2]!.toArray()).toEqual([[30, 33]])
})

hostOnly('slows devices down')(
  'a backward pass over several devices waits for none of them on the host',
  async () => {
    const x = leaves(1)
    const y = collectives.allReduce(
      group,
      collectives.allGather(group, x).map((t) => t.mul(t)),
    )
    await fabric.synchronize()
    for (let r = 0; r < ranks; r++) faults.setDeviceDelay(r, 2_000)
    const before = faults.hostWaits()
    weighted(y)
    expect(faults.hostWaits() - before).toBe(0)
    await fabric.synchronize()
    faults.clear()
    expect(await x[1]!.grad!.toArray()).toEqual([[2 * 10 * 6 * 3, 2 * 11 * 6 * 3]])
  },
)
