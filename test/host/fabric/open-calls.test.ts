// What a snapshot tells of groups, their open calls, graphs, algorithms and the paths that data took.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { captureGraph, type Fabric, type Group, openFabric, Snapshot, tensor } from 'weft'
import { describeCall } from '../../../dist/fabric/open-calls.js'
import { several } from '../device.js'

let fabric: Fabric
let group: Group
beforeAll(async () => {
  fabric = await openFabric(several(3))
})
const each = <T>(make: (rank: number, device: string) => T) =>
  group.devices.map((d, r) => make(r, d))
afterEach(() => group.dispose())
afterAll(() => fabric.close())

const found = (snapshot: Snapshot) => snapshot.groups.find((each) => each.id === group.id)

test('an open call tells which ranks came, with what, since when; a finished one is gone', async () => {
  group = fabric.group()
  const tensors = each((r, device) => tensor([r, r], { device }))
  await group.allReduce(tensors)
  const works = [0, 2].map((r) => group.rank(r).allReduce(tensors[r]!, { op: 'max' }))
  const snapshot = Snapshot.decode(fabric.snapshot().bytes)
  const told = found(snapshot)!
  expect(told).toMatchObject({ calls: 1, timeouts: 0, aborted: undefined })
  expect(told.ranks.map((rank) => [rank.calls, rank.last])).toEqual([
    [2, 'all_reduce'],
    [1, 'all_reduce'],
    [2, 'all_reduce'],
  ])
  expect(told.open).toHaveLength(1)
  const call = told.open[0]!
  expect(call).toMatchObject({ state: 'gathering', sequence: 2, launchedNs: 0 })
  expect(call.ranks.map((rank) => rank && [rank.kind, rank.op, rank.dtype, rank.count])).toEqual([
    ['all_reduce', 'max', 'f32', 2],
    undefined,
    ['all_reduce', 'max', 'f32', 2],
  ])
  expect(call.sinceNs).toBeLessThanOrEqual(snapshot.takenNs)
  expect(call.deadlineNs).toBeGreaterThan(snapshot.takenNs)
  expect(describeCall(call, snapshot.takenNs)).toMatch(
    /^all_reduce of 2 x f32, call 2 of group \d+: ranks 0, 2 have waited \d+ ms for rank 1$/,
  )
  await Promise.all([...works, group.rank(1).allReduce(tensors[1]!, { op: 'max' })])
  expect(found(fabric.snapshot())!.open).toEqual([])
})

test('an abort is told with its reason, until reset', () => {
  group = fabric.group()
  group.abort(new Error('enough'))
  expect(found(fabric.snapshot())).toMatchObject({ aborts: 1 })
  expect(found(fabric.snapshot())!.aborted).toContain('enough')
  group.reset()
  expect(found(fabric.snapshot())!.aborted).toBeUndefined()
})

test('a disposed group is gone', () => {
  group = fabric.group()
  expect(found(fabric.snapshot())).toBeDefined()
  group.dispose()
  expect(found(fabric.snapshot())).toBeUndefined()
})

test('paths and algorithms are counted, graphs listed with their runs', async () => {
  group = fabric.group()
  const before = fabric.snapshot()
  const tensors = each((_, device) => tensor([1, 2], { device }))
  await group.allReduce(tensors)
  const x = tensors[0]!
  const graph = captureGraph(() => x.mul_(2), { devices: [x.device] })
  graph.replay()
  graph.replay()
  await x.toArray()
  const after = fabric.snapshot()
  const gained = (name: string) => after.counters[name]! - before.counters[name]!
  expect(gained('host_copy')).toBe(4)
  expect(gained('host_copy_bytes')).toBe(32)
  expect(gained('combine')).toBeGreaterThan(0)
  expect(gained('replay')).toBe(2)
  const chosen = (snapshot: Snapshot) =>
    snapshot.algorithms.find((each) => each.name === 'copy-oneshot')!.calls
  expect(chosen(after) - chosen(before)).toBe(1)
  const launches = after.graphs.map((each) => each.launches)
  expect(launches).toContain(2)
  graph.dispose()
  expect(fabric.snapshot().graphs).toHaveLength(after.graphs.length - 1)
  expect(after.poisoned).toBeUndefined()
})
