// Snapshots of a live fabric.
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  captureGraph,
  type Fabric,
  memory,
  memorySnapshot,
  ones,
  openFabric,
  Snapshot,
  setDefaultDevice,
  tensor,
} from 'weft'
import { device, elsewhere, several, severalNames } from '../device.js'

setDefaultDevice(device)
let fabric: Fabric
beforeAll(async () => {
  fabric = await openFabric({ ...several(2), log: 'basic' })
})
afterAll(() => {
  fabric.logMode = 'off'
})

test('shows devices, links, streams, memory and counters', () => {
  const [from, to] = fabric.devices.map((each) => each.index) as [number, number]
  const [, name] = severalNames(2) as [string, string]
  const x = ones([100], { device: name })
  const snapshot = fabric.snapshot()
  expect(snapshot.devices.map((d) => d.name)).toEqual(expect.arrayContaining(severalNames(2)))
  expect(snapshot.links.some((l) => l.from === from && l.to === to && l.peerAccess)).toBe(true)
  expect(snapshot.streams.some((s) => s.device === to && s.purpose === 'compute')).toBe(true)
  expect(snapshot.memory[to]).toMatchObject({ device: to, bytes: memory()[name]!.bytes })
  expect(snapshot.counters['live_handles']).toBeGreaterThan(0)
  x.dispose()
})

test('events since a sequence, in order', async () => {
  const { nextSequence } = fabric.snapshot()
  const x = tensor([1, 2]).add(1)
  await x.to({ device: elsewhere }).toArray()
  const snapshot = fabric.snapshot({ since: nextSequence })
  const sequences = snapshot.events.map((e) => e.sequence)
  expect(sequences[0]).toBeGreaterThanOrEqual(nextSequence)
  expect(sequences).toEqual([...sequences].sort((a, b) => a - b))
  const names = snapshot.events.filter((e) => e.kind === 'operator').map((e) => e.name)
  expect(names).toEqual(['add_scalar', 'to_device'])
  expect(snapshot.events.some((e) => e.kind === 'copy' && e.bytes === 8)).toBe(true)
  expect(fabric.snapshot({ since: snapshot.nextSequence, limit: 0 }).eventCount).toBe(0)
})

test('limit keeps the newest; overwritten ones are counted', () => {
  const { capacity, nextSequence } = fabric.snapshot()
  fabric.measureLogCost(capacity + 500)
  const snapshot = fabric.snapshot({ since: nextSequence, limit: 10 })
  expect(snapshot.eventCount).toBe(10)
  expect(snapshot.events.at(-1)!.sequence).toBe(snapshot.nextSequence - 1)
  expect(snapshot.dropped).toBeGreaterThan(0)
})

test('what a small limit leaves out is counted, and there for a larger one', () => {
  const { nextSequence } = fabric.snapshot()
  fabric.measureLogCost(50)
  const narrow = fabric.snapshot({ since: nextSequence, limit: 8 })
  expect([narrow.eventCount, narrow.skipped, narrow.dropped]).toEqual([8, 42, 0])
  const wide = fabric.snapshot({ since: nextSequence, limit: 50 })
  expect([wide.eventCount, wide.skipped, wide.dropped]).toEqual([50, 0, 0])
})

test('modes, and off means no events', () => {
  fabric.logMode = 'off'
  const { nextSequence } = fabric.snapshot()
  ones([3])
  expect(fabric.snapshot().nextSequence).toBe(nextSequence)
  fabric.logMode = 'basic'
  expect(fabric.logMode).toBe('basic')
  expect(() => {
    fabric.logMode = 'loud' as never
  }).toThrow(/off, basic, timing/)
})

test('bytes round-trip', () => {
  const snapshot = fabric.snapshot({ limit: 5 })
  const copy = Snapshot.decode(new Uint8Array(snapshot.bytes))
  expect(copy.events).toEqual(snapshot.events)
  expect(JSON.parse(JSON.stringify(copy)).devices).toEqual(snapshot.devices)
})

test('memory by pool agrees with the blocks of the allocator, also with the pool of a captured graph', async () => {
  const held = Array.from({ length: 40 }, (_, i) => ones([(i + 1) * 5_000]))
  for (const [i, x] of held.entries()) if (i % 3 !== 0) x.dispose()
  using graph = captureGraph(() => ones([300_000]).mul(2))
  await fabric.synchronize()
  const pools = new Map<string, { segments: number; reservedBytes: number; freeBytes: number }>()
  for (const segment of memorySnapshot(device)) {
    const small = segment.bytes === 2 << 20 && segment.blocks.every((b) => b.requested <= 1 << 20)
    const key = `${segment.pool} ${small}`
    const row = pools.get(key) ?? { segments: 0, reservedBytes: 0, freeBytes: 0 }
    row.segments++
    row.reservedBytes += segment.bytes
    for (const b of segment.blocks) if (b.state === 'free') row.freeBytes += b.bytes
    pools.set(key, row)
  }
  const snapshot = fabric.snapshot({ limit: 0 })
  const index = snapshot.devices.find((each) => each.name === device)!.index
  const told = snapshot.pools.filter((row) => row.device === index)
  expect(Object.fromEntries(pools)).toEqual(
    Object.fromEntries(
      told.map(({ pool, small, segments, reservedBytes, freeBytes }) => [
        `${pool} ${small}`,
        { segments, reservedBytes, freeBytes },
      ]),
    ),
  )
  expect(told.some((row) => row.pool > 0)).toBe(true)
  const { reservedBytes, allocatedBytes, pendingBytes } = memory()[device]!
  const sum = (of: (row: (typeof told)[number]) => number) => told.reduce((s, r) => s + of(r), 0)
  expect(sum((row) => row.reservedBytes)).toBe(reservedBytes)
  expect(sum((row) => row.reservedBytes - row.freeBytes)).toBe(allocatedBytes + pendingBytes)
  expect(graph).toBeDefined()
})
