// Gather, scatter and all-to-all: for all ranks from one thread and rank by rank, and their errors.
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  DesyncError,
  DtypeError,
  type Fabric,
  type Group,
  openFabric,
  ShapeError,
  tensor,
  UsageError,
  zeros,
} from 'weft'
import { several } from '../device.js'

let fabric: Fabric
let group: Group
beforeEach(async () => {
  fabric = await openFabric(several(3))
  group = fabric.group()
})
afterEach(() => group.dispose())

const each = <T>(make: (rank: number, device: string) => T) =>
  group.devices.map((d, r) => make(r, d))
const values = (tensors: { toArray(): Promise<unknown> }[]) =>
  Promise.all(tensors.map((t) => t.toArray()))

test('gather: the root gets every input in rank order', async () => {
  const inputs = each((r, device) => tensor([r, 10 * r], { device }))
  const output = zeros([3, 2], { device: group.devices[1]! })
  await group.gather(inputs, output, { root: 1 }).done
  expect(await output.toArray()).toEqual([
    [0, 0],
    [1, 10],
    [2, 20],
  ])
})

test('scatter: each rank gets its part of the root', async () => {
  const input = tensor([5, 6, 7], { device: group.devices[2]! })
  const outputs = each((_, device) => zeros([1], { device }))
  group.scatter(input, outputs, { root: 2 })
  expect(await values(outputs)).toEqual([[5], [6], [7]])
})

test('all-to-all transposes blocks, out of place and in place', async () => {
  const make = () => each((r, device) => tensor([10 * r, 10 * r + 1, 10 * r + 2], { device }))
  const expected = each((q) => [q, 10 + q, 20 + q])
  const outputs = each((_, device) => zeros([3], { device }))
  group.allToAll(make(), outputs)
  expect(await values(outputs)).toEqual(expected)
  const tensors = make()
  group.allToAll(tensors)
  expect(await values(tensors)).toEqual(expected)
})

test('uneven all-to-all: blocks of any size, none too', async () => {
  const counts = [
    [1, 2, 0],
    [0, 0, 3],
    [2, 0, 1],
  ]
  const inputs = each((r, device) => tensor([10 * r, 10 * r + 1, 10 * r + 2], { device }))
  const sizes = [3, 2, 4]
  const make = () => each((q, device) => zeros([sizes[q]!], { device }))
  const expected = [
    [0, 20, 21],
    [1, 2],
    [10, 11, 12, 22],
  ]
  const outputs = make()
  group.allToAllUneven(inputs, outputs, counts)
  expect(await values(outputs)).toEqual(expected)
  const again = make()
  const works = each((r) =>
    group.rank(r).allToAllUneven(
      inputs[r]!,
      again[r]!,
      counts[r]!,
      counts.map((row) => row[r]!),
    ),
  )
  for (const work of works) work.wait()
  expect(await values(again)).toEqual(expected)
})

test('uneven all-to-all: counts that fit no tensor or no other rank are named', async () => {
  const tensors = () => each((_, device) => zeros([3], { device }))
  const even = [1, 1, 1]
  expect(() => group.allToAllUneven(tensors(), tensors(), [even, even, [1, 1, 2]])).toThrow(
    /the input of rank 2 is \(3,\), but its counts add up to 4/,
  )
  expect(() => group.allToAllUneven(tensors(), tensors(), [even, even, [1, 1, -1]])).toThrow(
    UsageError,
  )
  expect(() => group.allToAllUneven(tensors(), tensors(), [even, even])).toThrow(/need 3 rows/)
  const inputs = tensors()
  const outputs = tensors()
  const works = each((r) =>
    group.rank(r).allToAllUneven(inputs[r]!, outputs[r]!, r === 1 ? [2, 0, 1] : even, even),
  )
  for (const work of works) {
    await expect(work.done).rejects.toThrow(
      /rank 1 called all_to_all_uneven with 2 x f32 for rank 0, rank 0 with 1 from rank 1/,
    )
  }
})

test('rank by rank', async () => {
  const inputs = each((r, device) => tensor([r], { device }))
  const gathered = zeros([3], { device: group.devices[0]! })
  const works = inputs.map((t, r) => group.rank(r).gather(t, r === 0 ? gathered : undefined))
  for (const work of works) work.wait()
  expect(await gathered.toArray()).toEqual([0, 1, 2])
  const parts = each((_, device) => zeros([1], { device }))
  for (const work of parts.map((t, r) =>
    group.rank(r).scatter(r === 0 ? gathered : undefined, t),
  )) {
    work.wait()
  }
  expect(await values(parts)).toEqual([[0], [1], [2]])
  const blocks = each((r, device) => tensor([r, r, r], { device }))
  for (const work of blocks.map((t, r) => group.rank(r).allToAll(t))) work.wait()
  expect(await values(blocks)).toEqual(each(() => [0, 1, 2]))
})

test('no elements is a call like any other', async () => {
  const none = each((_, device) => zeros([0], { device }))
  await group.allToAll(none).done
  await group.gather(none, zeros([0], { device: group.devices[0]! })).done
})

test('what does not fit is named before anything moves', async () => {
  const pairs = each((_, device) => zeros([2], { device }))
  const at = (rank: number, shape: number[], dtype: 'f32' | 'f64' = 'f32') =>
    zeros(shape, { device: group.devices[rank]!, dtype })
  expect(() => group.allToAll(pairs)).toThrow(ShapeError)
  expect(() => group.gather(pairs, at(0, [5]))).toThrow(ShapeError)
  expect(() => group.gather(pairs, at(0, [6], 'f64'))).toThrow(DtypeError)
  expect(() => group.gather(pairs, at(0, [6]), { root: 3 })).toThrow(/root 3 is not a rank/)
  expect(() => group.scatter(at(0, [7]), pairs)).toThrow(ShapeError)
  expect(() => group.rank(1).gather(pairs[1]!, at(1, [6]))).toThrow(/only the root, rank 0/)
  expect(() => group.rank(0).gather(pairs[0]!)).toThrow(UsageError)
  await group.gather(pairs, at(0, [6])).done // nothing is lost
})

test('what differs between ranks names the rank and the operation', () => {
  const tensors = each((r, device) => zeros([r === 1 ? 6 : 3], { device }))
  expect(() => group.allToAll(tensors)).toThrow(DesyncError)
  expect(() => group.allToAll(tensors)).toThrow(/rank 1 called all[_-]to[_-]all/)
})
