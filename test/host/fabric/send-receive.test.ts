// Send and receive between two ranks: both ends from one thread and rank by rank, their order, and
// what a wrong or missing end is told.
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  CollectiveTimeoutError,
  DesyncError,
  DeviceError,
  type Fabric,
  type Group,
  openFabric,
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

const on = (rank: number) => ({ device: group.devices[rank]! })

test('sends and receives count among the group’s calls', async () => {
  const before = group.stats()
  await group.sendReceive(zeros([8], on(0)), zeros([8], on(1)), { from: 0, to: 1 })
  await group.barrier()
  const { calls, bytes } = group.stats()
  expect([calls - before.calls, bytes - before.bytes]).toEqual([2, 32])
})

test('both ends from one thread: the receiver gets the sender’s values', async () => {
  const input = tensor(
    [
      [1, 2],
      [3, 4],
    ],
    on(2),
  )
  const output = zeros([2, 2], on(0))
  await group.sendReceive(input, output, { from: 2, to: 0 })
  expect(await output.toArray()).toEqual([
    [1, 2],
    [3, 4],
  ])
})

test('rank by rank: send k meets receive k, whatever the rest of the group does', async () => {
  const first = zeros([1], on(1))
  const second = zeros([1], on(1))
  const works = [
    group.rank(0).send(tensor([7], on(0)), { to: 1 }),
    group.rank(0).send(tensor([8], on(0)), { to: 1 }),
  ]
  const all = [0, 1, 2].map((r) => tensor([1], on(r)))
  await group.allReduce(all)
  works.push(group.rank(1).receive(first, { from: 0 }), group.rank(1).receive(second, { from: 0 }))
  for (const work of works) work.wait()
  expect(await first.toArray()).toEqual([7])
  expect(await second.toArray()).toEqual([8])
})

test('a round: every rank sends to the next and receives from the one before', async () => {
  const inputs = [0, 1, 2].map((r) => tensor([10 * r], on(r)))
  const outputs = [0, 1, 2].map((r) => zeros([1], on(r)))
  const works = [0, 1, 2].flatMap((r) => [
    group.rank(r).send(inputs[r]!, { to: (r + 1) % 3 }),
    group.rank(r).receive(outputs[r]!, { from: (r + 2) % 3 }),
  ])
  for (const work of works) work.wait()
  const values = await Promise.all(outputs.map((t) => t.toArray()))
  expect(values).toEqual([[20], [0], [10]])
})

test('a receiver that never comes is named by its rank in the group', async () => {
  const work = group.rank(2).send(tensor([1], on(2)), { to: 1, timeoutMs: 30 })
  const error = await work.done.then(
    () => undefined,
    (e) => e,
  )
  expect(error).toBeInstanceOf(CollectiveTimeoutError)
  expect(error.message).toMatch(
    /^send_receive \(call 1 from rank 2 to rank 1 of group \d+\): rank 1 did not arrive .* rank 2 waited/,
  )
  await expect(group.rank(1).receive(zeros([1], on(1)), { from: 2 }).done).rejects.toThrow(
    CollectiveTimeoutError,
  )
  const output = zeros([1], on(1))
  await group.sendReceive(tensor([5], on(2)), output, { from: 2, to: 1 })
  expect(await output.toArray()).toEqual([5])
})

test('sizes that differ are a DesyncError at both ends', async () => {
  const sent = group.rank(0).send(tensor([1, 2], on(0)), { to: 2 })
  const got = group.rank(2).receive(zeros([3], on(2)), { from: 0 })
  for (const work of [sent, got]) {
    const error = await work.done.then(
      () => undefined,
      (e) => e,
    )
    expect(error).toBeInstanceOf(DesyncError)
    expect(error.message).toMatch(/rank 2 .*3 x f32.*rank 0 .*2 x f32|rank 0 .*2 x f32.*rank 2 .*3/)
  }
})

test('wrong ends are refused by name', () => {
  const a = tensor([1], on(0))
  const b = zeros([1], on(1))
  expect(() => group.sendReceive(a, b, { from: 0, to: 0 })).toThrow(/cannot send to itself/)
  expect(() => group.sendReceive(a, b, { from: 0, to: 3 })).toThrow(UsageError)
  expect(() => group.sendReceive(a, b, { from: 1, to: 0 })).toThrow(DeviceError)
})

test('an abort of the group reaches its sends, and reset() gives them back', async () => {
  const work = group.rank(0).send(tensor([1], on(0)), { to: 1 })
  group.abort(new UsageError('stop here'))
  await expect(work.done).rejects.toThrow('stop here')
  group.reset()
  const output = zeros([1], on(1))
  await group.sendReceive(tensor([4], on(0)), output, { from: 0, to: 1 })
  expect(await output.toArray()).toEqual([4])
})
