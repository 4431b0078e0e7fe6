// Following the event log: order, kinds, what a flood loses, and its end.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fabric, openFabric, type SnapshotEvent, tensor, UsageError } from 'weft'
import { several } from '../device.js'

let fabric: Fabric
beforeAll(async () => {
  fabric = await openFabric({ ...several(2), log: 'basic' })
})
afterAll(() => {
  fabric.logMode = 'off'
  fabric.close()
})

test('events come in order, only those of the kinds asked for', async () => {
  const stream = fabric.events({ kinds: ['operator'] })
  const seen: SnapshotEvent[] = []
  await tensor([1, 2]).add(1).mul(2).toArray()
  for await (const event of stream) {
    seen.push(event)
    if (event.name === 'mul_scalar') break
  }
  expect(seen.map((event) => event.name)).toEqual(['add_scalar', 'mul_scalar'])
  expect(stream.dropped).toBe(0)
})

test('a burst below what the log keeps loses none; a flood beyond is counted to the last record', async () => {
  for (const [written, lost] of [
    [60_000, 0],
    [200_000, 200_000 - 65_536],
  ] as const) {
    const stream = fabric.events({ kinds: ['operator'] })
    fabric.measureLogCost(written)
    let count = 0
    let latest = 0
    let ordered = true
    for await (const event of stream) {
      ordered &&= event.sequence > latest
      latest = event.sequence
      count++
      if (event.bytes === written - 1) break
    }
    expect(ordered).toBe(true)
    expect(stream.dropped).toBe(lost)
    expect(count + stream.dropped).toBe(written)
  }
})

test('bursts while it runs: every record is seen or counted', async () => {
  const own = await openFabric(several(1))
  const stream = own.events({ kinds: ['operator'] })
  let count = 0
  const reader = (async () => {
    for await (const event of stream) count += event.kind === 'operator' ? 1 : 0
  })()
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  for (let burst = 0; burst < 20; burst++) {
    fabric.measureLogCost(20_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const end = fabric.snapshot({ limit: 0 }).nextSequence
  const last = fabric.events({ since: end, kinds: ['operator'] })
  tensor([1]).add(1)
  for await (const _ of last) break
  for (let i = 0; i < 1000 && count + stream.dropped < end - nextSequence; i++) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  own.close()
  await reader
  expect(count + stream.dropped).toBeGreaterThanOrEqual(400_000)
})

test('closing the fabric ends the loop', async () => {
  const own = await openFabric(several(1))
  const stream = own.events()
  const ended = (async () => {
    for await (const _ of stream);
    return true
  })()
  own.close()
  expect(await ended).toBe(true)
})

test('what is wrong is named: the log is off, an unknown kind, an unknown option', () => {
  expect(() => fabric.events({ kinds: ['copies' as never] })).toThrow(/use operator, copy/)
  expect(() => fabric.events({ kind: 'copy' } as never)).toThrow(UsageError)
  fabric.logMode = 'off'
  expect(() => fabric.events()).toThrow(/fabric.logMode = 'basic'/)
  fabric.logMode = 'basic'
})
