// Moving distributed tensors: every placement to every other, sizes that do not divide, gradients through
// each move, round trips, parts without copies, and that nothing moves unasked.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  autoRedistribute,
  DeviceError,
  DistributedTensor,
  distribute,
  type Fabric,
  fromLocal,
  type Mesh,
  memory,
  ones,
  openFabric,
  type Placement,
  PlacementError,
  type Placements,
  partial,
  type Redistribution,
  replicated,
  ShapeError,
  scope,
  sharded,
  tensor,
  UsageError,
} from 'weft'
import { several } from '../device.js'
import { compare, type Either, expectClose, numbers } from './reference.js'

let fabric: Fabric
let grid: Mesh
let line: Mesh
beforeAll(async () => {
  fabric = await openFabric(several(4))
  grid = fabric.mesh({ data: 2, model: 2 })
  line = fabric.mesh({ model: 4 })
})
afterAll(() => {
  grid.dispose()
  line.dispose()
})

const all: Placement[] = [replicated(), sharded(0), sharded(1), partial(), partial('max')]

describe.each([[[8, 4]], [[7, 5]], [[3, 2]]])('a tensor of %j', (shape) => {
  test('goes from every placement to every other, with its gradient', async () => {
    for (const from of all) {
      for (const to of all) {
        await compare(line, [{ shape, placements: { model: from } }], ([x]) =>
          moved(x!, { model: to }),
        )
      }
    }
  })

  test('changes along two axes at once, dimensions exchanged too', async () => {
    for (const [d, m] of pairs()) {
      for (const [e, n] of pairs()) {
        await compare(grid, [{ shape, placements: { data: d, model: m } }], ([x]) =>
          moved(x!, { data: e, model: n }),
        )
      }
    }
  })
})

/** The distributed one of both tensors moves. */
function moved(x: Either, to: Placements): Either {
  return x instanceof DistributedTensor ? (x.redistribute(to) as unknown as Either) : x
}

/** Two placements that do not cut the same dimension. */
function pairs(): [Placement, Placement][] {
  return all.flatMap((a) =>
    all.flatMap((b) => {
      const clash = a.kind === 'sharded' && b.kind === 'sharded' && a.dim === b.dim
      return clash ? [] : [[a, b] as [Placement, Placement]]
    }),
  )
}

test('integers survive any way round bit by bit', async () => {
  const values = Int32Array.from({ length: 35 }, (_, i) => i * 1_000_003)
  const whole = tensor(values, { shape: [7, 5] })
  const expected = await whole.toArray()
  let x = distribute(whole, line, { model: sharded(0) })
  for (const to of [sharded(1), partial(), sharded(0), replicated(), partial(), sharded(1)]) {
    x = x.redistribute({ model: to })
    expect(await x.toArray()).toEqual(expected)
  }
})

test('parts are the tensor itself, and lie where the mesh says', async () => {
  const x = distribute(tensor(numbers([7, 2]), { shape: [7, 2] }), grid, { data: sharded(0) })
  expect(x.locals.map((t) => t.device)).toEqual(grid.devices)
  expect(x.locals.map((t) => t.shape[0])).toEqual([4, 4, 3, 3])
  x.local(2).fill_(5)
  x.local(3).fill_(5)
  expect(((await x.toArray()) as number[][])[4]).toEqual([5, 5])
  const y = fromLocal(grid, x.locals, { data: sharded(0) })
  expect(y.shape).toEqual([7, 2])
  expect(y.local(1)).toBe(x.local(1))
  expect(`${y}`).toBe('DistributedTensor([7, 2], f32, { data: sharded(0), model: replicated() })')
})

test('parts that do not fit are named', () => {
  const parts = line.devices.map((device) => ones([2, 3], { device }))
  expect(() => fromLocal(line, parts.toReversed())).toThrow(DeviceError)
  expect(() => fromLocal(line, parts.slice(1))).toThrow(UsageError)
  const odd = parts.with(1, ones([3, 3], { device: line.devices[1]! }))
  expect(() => fromLocal(line, odd, { model: sharded(0) })).toThrow(ShapeError)
  const x = parts[0]!
  expect(() => distribute(x, grid, { data: sharded(0), model: sharded(0) })).toThrow(
    /both data and model/,
  )
  expect(() => distribute(x, grid, { nothing: sharded(0) })).toThrow(PlacementError)
  expect(() => distribute(x, grid, { data: sharded(2) })).toThrow(/out of range/)
})

test('placements that do not fit tell the cheapest call, and nothing moves', async () => {
  const before = line.groups('model').map((group) => group.stats().calls)
  const a = distribute(ones([1024, 1024]), line, { model: sharded(0) })
  const b = distribute(ones([1024, 1024]), line)
  let error: unknown
  try {
    a.add(b)
  } catch (thrown) {
    error = thrown
  }
  expect(error).toBeInstanceOf(PlacementError)
  expect((error as PlacementError).code).toBe('WEFT_PLACEMENT')
  expect((error as Error).message).toContain(
    'call b.redistribute({ model: sharded(0) }) first: moves 0 B a device',
  )
  expect((error as PlacementError).fields).toEqual({
    calls: ['b.redistribute({ model: sharded(0) })'],
    bytes: 0,
  })
  expect(() => a.softmax(0)).toThrow(
    /x\.redistribute\(\{ model: sharded\(1\) \}\) first: moves 768\.0 KiB/,
  )
  expect(() => a.sum(0).relu()).toThrow(
    /x\.redistribute\(\{ model: sharded\(0\) \}\) first: moves 3\.0 KiB/,
  )
  expect(line.groups('model').map((group) => group.stats().calls)).toEqual(before)
  // The advice is true.
  expect(a.add(b.redistribute({ model: sharded(0) })).placements).toEqual({ model: sharded(0) })
})

test('automatic redistribution is asked for, does the same, and tells its bytes', async () => {
  const notes: Redistribution[] = []
  const x = tensor(numbers([6, 8]), { shape: [6, 8] })
  const a = distribute(x, line, { model: sharded(1) })
  fabric.logMode = 'basic'
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  const result = autoRedistribute(
    () => a.softmax(),
    (note) => notes.push(note),
  )
  expectClose(await result.toArray(), await x.softmax().toArray(), 'softmax')
  expect(notes).toEqual([
    { operator: 'softmax', call: 'x.redistribute({ model: sharded(0) })', bytes: 36 },
  ])
  expect(() => a.softmax()).toThrow(PlacementError)
  const { events } = fabric.snapshot({ since: nextSequence })
  fabric.logMode = 'off'
  const logged = events.filter(({ kind }) => kind === 'redistribute')
  expect(logged.map(({ name, bytes }) => ({ name, bytes }))).toEqual([
    { name: 'softmax', bytes: 36 },
  ])
})

test('a result that two axes would cut alike tells the cheapest call, and automatic redistribution makes it', async () => {
  using narrow = fabric.mesh({ one: 1, model: 4 })
  const values = tensor(numbers([1, 8]), { shape: [1, 8] })
  const x = distribute(values, narrow, { one: sharded(0), model: sharded(1) })
  expect(() => x.reshape([8])).toThrow(
    /reshape: x is .*: call x\.redistribute\(\{ (one|model): replicated\(\) \}\) first: moves /,
  )
  const flat = autoRedistribute(() => x.reshape([8]))
  expect(await flat.toArray()).toEqual(await values.reshape([8]).toArray())
})

test('a scope frees the parts of what it does not return', () => {
  const live = () => line.devices.reduce((n, device) => n + (memory()[device]?.tensors ?? 0), 0)
  const x = distribute(ones([8, 8]), line, { model: sharded(0) })
  const before = live()
  const kept = scope(() =>
    x
      .add(1)
      .redistribute({ model: replicated() })
      .mul(x.redistribute({ model: replicated() })),
  )
  expect(live() - before).toBe(4)
  kept.dispose()
  expect(live()).toBe(before)
})

test('meshes: axes renamed, split and sliced share their devices', () => {
  expect(`${grid}`).toBe('Mesh(data 2 × model 2)')
  expect(grid.rename({ data: 'batch' }).axes).toEqual(['batch', 'model'])
  expect(line.split('model', { outer: 2, inner: 2 }).lines(0)).toEqual([
    [0, 2],
    [1, 3],
  ])
  expect(grid.slice({ data: 1 }).devices).toEqual(grid.devices.slice(2))
  expect(grid.slice({ model: 0 }).axes).toEqual(['data'])
  expect(grid.groups('data').map((group) => group.devices)).toEqual([
    [grid.devices[0], grid.devices[2]],
    [grid.devices[1], grid.devices[3]],
  ])
  expect(() => fabric.mesh({ data: 3 })).toThrow(UsageError)
  expect(() => grid.split('data', { x: 3 })).toThrow(UsageError)
  expect(() => grid.slice({ data: 2 })).toThrow(UsageError)
  expect(() => grid.rename({ data: 'model' })).toThrow(UsageError)
  expect(() => grid.axis('none')).toThrow(/no axis "none": data, model/)
})
