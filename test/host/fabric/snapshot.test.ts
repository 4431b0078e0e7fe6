// Snapshots of a live fabric.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fabric, memory, ones, openFabric, Snapshot, setDefaultDevice, tensor } from 'weft'
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
