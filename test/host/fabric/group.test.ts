// Collectives from one thread for all ranks, rank by rank, and their errors. Exactness and faults
// of the algorithms are tested in C++.
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  CollectiveTimeoutError,
  DesyncError,
  DeviceError,
  DtypeError,
  type Fabric,
  type Group,
  GroupAbortedError,
  noGrad,
  openFabric,
  ShapeError,
  scope,
  tensor,
  UsageError,
  WorkerError,
  zeros,
} from 'weft'
import { faults } from 'weft/testing'
import { hostOnly, several } from '../device.js'

let fabric: Fabric
let group: Group
beforeEach(async () => {
  fabric = await openFabric(several(3))
  group = fabric.group()
})
afterEach(() => {
  group.dispose()
  faults.clear()
})

const each = <T>(make: (rank: number, device: string) => T) =>
  group.devices.map((d, r) => make(r, d))
const values = (tensors: { toArray(): Promise<unknown> }[]) =>
  Promise.all(tensors.map((t) => t.toArray()))

test('all-reduce: sum, average, maximum', async () => {
  for (const [op, expected] of [
    ['sum', 6],
    ['avg', 2],
    ['max', 3],
    ['min', 1],
    ['prod', 6],
  ] as const) {
    const tensors = each((r, device) => tensor([r + 1, r + 1], { device }))
    await group.allReduce(tensors, { op }).done
    expect(await values(tensors)).toEqual(each(() => [expected, expected]))
  }
})

test('results are ordered for later operators without await', async () => {
  faults.setDeviceDelay(1, 5_000)
  const tensors = each((r, device) => tensor([r], { device }))
  group.allReduce(tensors)
  expect(await values(tensors.map((t) => t.mul(2)))).toEqual(each(() => [6]))
})

test('broadcast, reduce, all-gather, reduce-scatter, barrier', async () => {
  const tensors = each((r, device) => tensor([r, r], { device }))
  group.broadcast(tensors, { root: 2 })
  expect(await values(tensors)).toEqual(each(() => [2, 2]))
  group.reduce(tensors, { root: 1 })
  expect(await tensors[1]!.toArray()).toEqual([6, 6])

  const gathered = each((_, device) => zeros([3, 1], { device }))
  group.allGather(
    each((r, device) => tensor([r], { device })),
    gathered,
  )
  expect(await values(gathered)).toEqual(each(() => [[0], [1], [2]]))

  const parts = each((_, device) => zeros([1], { device }))
  group.reduceScatter(
    each((r, device) => tensor([r, 10 * r, 100 * r], { device })),
    parts,
  )
  expect(await values(parts)).toEqual([[3], [30], [300]])
  await group.barrier().done
  expect(group.stats().calls).toBe(5)
})

test('what one rank gets wrong', () => {
  const good = each((_, device) => zeros([2], { device }))
  const swap = (t: ReturnType<typeof zeros>) => [good[0]!, t, good[2]!]
  expect(() => group.allReduce(swap(zeros([2], { device: group.devices[0]! })))).toThrow(
    DeviceError,
  )
  expect(() => group.allReduce([good[0]!])).toThrow(UsageError)
  expect(() => group.allReduce(good, { op: 'median' as never })).toThrow(UsageError)
  expect(() => group.broadcast(good, { root: 3 })).toThrow(UsageError)
  const strided = zeros([2, 2], { device: group.devices[1]! }).select(1, 0)
  expect(() => group.allReduce(swap(strided))).toThrow(/contiguous/)
  expect(() => group.allGather(good, good)).toThrow(ShapeError)
  const wide = each((_, device) => zeros([6], { device, dtype: 'f64' }))
  expect(() => group.allGather(good, wide)).toThrow(DtypeError)
})

test('what differs between ranks is a desync naming the rank', () => {
  const tensors = each((r, device) => zeros([r === 1 ? 3 : 2], { device }))
  expect(() => group.allReduce(tensors)).toThrow(DesyncError)
  expect(() => group.allReduce(tensors)).toThrow(/rank 1/)
  const mixed = each((r, device) => zeros([2], { device, dtype: r === 2 ? 'f64' : 'f32' }))
  expect(() => group.allReduce(mixed)).toThrow(DesyncError)
})

test('gradients are not recorded, so tensors that ask for them are refused', async () => {
  const leaves = each((_, device) => tensor([1], { device, requiresGrad: true }))
  expect(() => group.allReduce(leaves)).toThrow(UsageError)
  await noGrad(() => group.allReduce(leaves)).done
  expect(await values(leaves)).toEqual(each(() => [3]))
})

test('a collective counts as a write', () => {
  const leaf = tensor([2], { requiresGrad: true, device: group.devices[0]! })
  const buffers = each((_, device) => tensor([1], { device }))
  const product = leaf.mul(buffers[0]!)
  group.allReduce(buffers)
  expect(() => product.backward()).toThrow(/changed in place/)
})

test('rank by rank on one thread, with votes', async () => {
  const tensors = each((r, device) => tensor([r], { device }))
  const works = tensors.map((t, r) => group.rank(r).allReduce(t, { vote: 1 << r }))
  for (const work of works) work.wait()
  expect(works.map((work) => work.votes)).toEqual([7, 7, 7])
  await Promise.all(works.map((work) => work.done))
  expect(works.every((work) => work.isDone)).toBe(true)
  expect(await values(tensors)).toEqual(each(() => [3]))
})

test('a rank that never comes is named; the group works again', async () => {
  const tensors = each((r, device) => tensor([r], { device }))
  const early = [0, 2].map((r) => group.rank(r).allReduce(tensors[r]!, { timeoutMs: 50 }))
  const failures = await Promise.allSettled(early.map((work) => work.done))
  for (const failure of failures) {
    const reason = (failure as PromiseRejectedResult).reason
    expect(reason).toBeInstanceOf(CollectiveTimeoutError)
    expect(reason.fields.missing).toEqual([1])
  }
  const late = group.rank(1).allReduce(tensors[1]!)
  await expect(late.done).rejects.toThrow(CollectiveTimeoutError)
  await group.allReduce(tensors).done
  expect(await values(tensors)).toEqual(each(() => [3]))
})

test('calls for all ranks work again after one rank timed out alone', async () => {
  const tensors = each((r, device) => tensor([r], { device }))
  await expect(group.rank(0).allReduce(tensors[0]!, { timeoutMs: 5 }).done).rejects.toThrow(
    CollectiveTimeoutError,
  )
  await group.allReduce(tensors)
  expect(await values(tensors)).toEqual(each(() => [3]))
})

test('a call for all ranks does not mix with an open call of one', async () => {
  const tensors = each((r, device) => tensor([r], { device }))
  const open = group.rank(0).allReduce(tensors[0]!)
  expect(() => group.allReduce(tensors)).toThrow(UsageError)
  expect(() => group.allReduce(tensors)).toThrow(/rank 1 did not yet/)
  const others = [1, 2].map((r) => group.rank(r).allReduce(tensors[r]!))
  await Promise.all([open, ...others])
  expect(await values(tensors)).toEqual(each(() => [3]))
})

test('await waits for the result, as done does', async () => {
  faults.setDeviceDelay(1, 20_000)
  const tensors = each((r, device) => tensor([r], { device }))
  const work = group.allReduce(tensors)
  const nothing: void = await work
  expect(nothing).toBeUndefined()
  expect(work.isDone).toBe(true)
  const late = group.rank(0).allReduce(tensors[0]!, { timeoutMs: 5 })
  await expect((async () => await late)()).rejects.toThrow(CollectiveTimeoutError)
})

test('scope() and noGrad() pass a work on', async () => {
  const tensors = each((r, device) => tensor([r], { device }))
  await scope(() => group.allReduce(tensors))
  await noGrad(() => group.allReduce(tensors))
  expect(await values(tensors)).toEqual(each(() => [9]))
})

hostOnly('delays')('a launched call that stalls ends with a timeout naming where', async () => {
  const tensors = each((r, device) => tensor([r], { device }))
  await fabric.synchronize()
  faults.setDeviceDelay(1, 400_000)
  const work = group.allReduce(tensors, { timeoutMs: 20 })
  const error = await Promise.resolve(work).catch((reason) => reason)
  expect(error).toBeInstanceOf(CollectiveTimeoutError)
  expect(error.message).toMatch(/launched, but not done within/)
  expect(error.fields).toMatchObject({ launched: true, kind: 'all_reduce' })
  faults.clear()
  await fabric.synchronize()
  await group.allReduce(tensors)
  expect(await values(tensors)).toEqual(each(() => [9]))
})

test('an abort with an error of the user is that error', async () => {
  const tensors = each((r, device) => tensor([r], { device }))
  const open = group.rank(0).allReduce(tensors[0]!)
  const reason = new RangeError('the budget is used up')
  group.abort(reason)
  const error = await Promise.resolve(open).catch((thrown) => thrown)
  expect(error).toBeInstanceOf(GroupAbortedError)
  expect(error).not.toBeInstanceOf(UsageError)
  expect(error.code).toBe('WEFT_GROUP_ABORTED')
  expect(error.message).toBe('the group was aborted: RangeError: the budget is used up')
  expect(error.cause).toBe(reason)
  expect(() => group.allReduce(tensors)).toThrow(GroupAbortedError)
  group.reset()
  await group.allReduce(tensors)
})

test('an abort from another thread carries name, message and stack of its error', async () => {
  const script = `
    const { Group } = await import(process.env.WEFT_ENTRY)
    const { workerData } = await import('node:worker_threads')
    Group.attach(workerData).abort(Object.assign(new Error('no more'), { name: 'BudgetError' }))`
  const open = group.rank(0).barrier()
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`), {
    workerData: group.id,
    env: { ...process.env, WEFT_ENTRY: new URL('../../../dist/index.js', import.meta.url).href },
  })
  const failed = new Promise<never>((_, reject) => worker.once('error', reject))
  const error = await Promise.race([failed, Promise.resolve(open).catch((thrown) => thrown)])
  expect(error).toBeInstanceOf(GroupAbortedError)
  expect(error.cause).toMatchObject({ name: 'BudgetError', message: 'no more' })
  await worker.terminate()
})

test('a deadline must be a time', () => {
  expect(() => group.barrier({ timeoutMs: -1 })).toThrow(UsageError)
  expect(() => group.rank(0).barrier({ timeoutMs: Number.NaN })).toThrow(/timeoutMs/)
})

test('abort ends open and later calls until reset', async () => {
  const tensors = each((r, device) => tensor([r], { device }))
  const open = group.rank(0).allReduce(tensors[0]!)
  group.abort(new WorkerError('worker 2 died'))
  await expect(open.done).rejects.toThrow(WorkerError)
  expect(() => group.allReduce(tensors)).toThrow(/worker 2 died/)
  group.reset()
  await group.allReduce(tensors).done
})

test('multiprocessors of a group are a whole number', () => {
  using limited = fabric.group(undefined, { multiprocessors: 16, name: 'small' })
  expect(limited.size).toBe(fabric.devices.length)
  for (const multiprocessors of [-1, 1.5, Number.NaN, 70_000]) {
    expect(() => fabric.group(undefined, { multiprocessors })).toThrow(/multiprocessors .*whole/)
  }
})

test('a disposed group is a UsageError', () => {
  group.dispose()
  expect(() => group.barrier()).toThrow(UsageError)
})

test.each([-1, 0, Number.NaN, '50'])(
  'a deadline of %j ms is a UsageError, and no rank arrived',
  async (ms) => {
    const timeoutMs = ms as number
    const tensors = each((_, device) => zeros([2], { device }))
    expect(() => group.allReduce(tensors, { timeoutMs })).toThrow(UsageError)
    expect(() => group.rank(0).barrier({ timeoutMs })).toThrow(/timeoutMs must be milliseconds/)
    await group.barrier().done
  },
)
