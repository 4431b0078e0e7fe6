// group.coalesce: the calls of a block are one call, checked over ranks and launched together, all or
// none; from one thread and rank by rank.
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  DesyncError,
  type Fabric,
  type Group,
  openFabric,
  ShapeError,
  tensor,
  UsageError,
  type Work,
  zeros,
} from 'weft'
import { several } from '../device.js'

let fabric: Fabric
let group: Group
beforeEach(async () => {
  fabric = await openFabric(several(3))
  group = fabric.group()
})
afterEach(async () => {
  await fabric.synchronize()
  group.dispose()
})
const each = (value: (rank: number) => number[]) =>
  group.devices.map((device, r) => tensor(value(r), { device }))
const read = (tensors: { toArray(): Promise<unknown> }[]) =>
  Promise.all(tensors.map((t) => t.toArray()))

test('calls of a block give what they give alone, as one call of the group', async () => {
  const [a, b, c] = [each((r) => [r, 10 * r]), each((r) => [r + 1]), each((r) => [r])]
  const joined = group.devices.map((device) => zeros([3], { device }))
  const before = group.stats().calls
  let inner: Work | undefined
  const work = group.coalesce(() => {
    group.allReduce(a)
    inner = group.allGather(b, joined)
    group.broadcast(c, { root: 2 })
    group.allReduce(a, { op: 'max' })
  })
  expect(group.stats().calls).toBe(before + 1)
  expect(await read(a)).toEqual([0, 1, 2].map(() => [3, 30]))
  expect(await read(joined)).toEqual([0, 1, 2].map(() => [1, 2, 3]))
  expect(await read(c)).toEqual([[2], [2], [2]])
  await work
  await inner
  expect(inner!.isDone).toBe(true)
})

test('an uneven all-to-all and gather to a root are calls like others', async () => {
  const inputs = each((r) => [r, r, r])
  const outputs = group.devices.map((device, r) => zeros([[3, 3, 3][r]!], { device }))
  const all = zeros([3], { device: group.devices[1]! })
  const own = each((r) => [r * r])
  await group.coalesce(() => {
    group.allToAllUneven(inputs, outputs, [
      [1, 2, 0],
      [0, 1, 2],
      [2, 0, 1],
    ])
    group.gather(own, all, { root: 1 })
  })
  expect(await read(outputs)).toEqual([
    [0, 2, 2],
    [0, 0, 1],
    [1, 1, 2],
  ])
  expect(await all.toArray()).toEqual([0, 1, 4])
})

test('ranks coalesce their own calls and meet; votes are those of all', async () => {
  const [a, b] = [each((r) => [r]), each((r) => [2 * r])]
  const works = group.devices.map((_, r) =>
    group.rank(r).coalesce(() => {
      group.rank(r).allReduce(a[r]!, { vote: 1 << r })
      group.rank(r).broadcast(b[r]!, { root: 1 })
    }),
  )
  for (const work of works) work.wait()
  expect(works.map((work) => work.votes)).toEqual([7, 7, 7])
  expect(await read(a)).toEqual([[3], [3], [3]])
  expect(await read(b)).toEqual([[2], [2], [2]])
})

test('ranks whose blocks differ get one DesyncError that names the call in the block', async () => {
  const a = each((r) => [r])
  const works = group.devices.map((_, r) =>
    group.rank(r).coalesce(() => {
      group.rank(r).barrier()
      group.rank(r).allReduce(a[r]!, { op: r === 1 ? 'max' : 'sum' })
    }),
  )
  for (const work of works) {
    const error = await Promise.resolve(work).catch((reason) => reason)
    expect(error).toBeInstanceOf(DesyncError)
    expect(error.message).toMatch(
      /^rank 1 called all_reduce with op max, rank 0 with op sum as coalesced call 2 of 2 \(/,
    )
    expect(error.fields).toMatchObject({ rank: 1, differs: 'op', part: 1 })
  }
  expect(await read(a)).toEqual([[0], [1], [2]])
  await group.allReduce(a)
})

test('a call that is refused inside the block leaves all of it undone', async () => {
  const a = each((r) => [r])
  const wrong = group.devices.map((device) => zeros([2], { device }))
  let inner: Work | undefined
  const block = () =>
    group.coalesce(() => {
      inner = group.allReduce(a)
      group.allGather(a, wrong)
    })
  expect(block).toThrow(ShapeError)
  expect(await read(a)).toEqual([[0], [1], [2]])
  expect(() => inner!.isDone).toThrow(/was not made: the coalesce\(\) block it is in threw/)
  await group.allReduce(a)
  expect(await read(a)).toEqual([[3], [3], [3]])
})

test('what a block cannot hold is a UsageError, and the next block works', async () => {
  const a = each((r) => [r])
  const inside = (fn: () => unknown, message: RegExp) => {
    const block = () => group.coalesce(fn as () => void)
    expect(block).toThrow(UsageError)
    expect(block).toThrow(message)
  }
  inside(() => group.coalesce(() => {}), /a thread has one at a time/)
  inside(() => group.sendReceive(a[0]!, a[1]!, { from: 0, to: 1 }), /a send or a receive cannot/)
  inside(() => group.rank(1).allReduce(a[1]!), /a call of one rank inside/)
  inside(async () => group.allReduce(a), /takes a synchronous function/)
  inside(() => group.allReduce(a).waitLaunched(), /is made when its coalesce\(\) block ends/)
  const mixed = () => group.rank(0).coalesce(() => void group.allReduce(a))
  expect(mixed).toThrow(/a call for all ranks inside/)
  await group.coalesce(() => {})
  const other = fabric.group()
  const b = each((r) => [r + 1])
  await group.coalesce(() => {
    group.allReduce(a)
    other.allReduce(b) // another group's call is made at once
    expect(other.stats().calls).toBe(1)
  })
  expect(await read(a)).toEqual([[3], [3], [3]])
  expect(await read(b)).toEqual([[6], [6], [6]])
  other.dispose()
})
