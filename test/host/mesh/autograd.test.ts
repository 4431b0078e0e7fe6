// Backward passes over several devices: hooks on either side of a collective or a copy, errors that cross devices,
// and branches on two devices that compute at the same time.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { backward, collectives, type Fabric, type Group, openFabric, rand, tensor } from 'weft'
import { faults } from 'weft/testing'
import { hostOnly, several } from '../device.js'

let fabric: Fabric
let group: Group
beforeAll(async () => {
  fabric = await openFabric(several(2))
  group = fabric.group()
})
afterEach(() => {
  faults.clear()
  fabric.logMode = 'off'
})
afterAll(() => group.dispose())

const leaves = () => group.devices.map((device) => tensor([1, 2], { device, requiresGrad: true }))

test('hooks run on both sides of a collective and of a copy, and may replace what crosses', async () => {
  const x = leaves()
  const seen: string[] = []
  const inner = x.map((t) => t.mul(2))
  inner[1]!.registerHook((grad) => {
    seen.push(`inner ${grad.device}`)
  })
  const sums = collectives.allReduce(group, inner)
  sums[0]!.registerHook((grad) => {
    seen.push(`outer ${grad.device}`)
    return grad.mul(10)
  })
  const crossed = sums[0]!.to({ device: group.devices[1]! })
  crossed.registerHook((grad) => {
    seen.push(`copied ${grad.device}`)
  })
  crossed.sum().backward()
  expect(seen).toEqual([
    `copied ${group.devices[1]}`,
    `outer ${group.devices[0]}`,
    `inner ${group.devices[1]}`,
  ])
  for (const t of x) expect(await t.grad!.toArray()).toEqual([20, 20])
})

test('an error on one device ends the whole pass with that error, and the next pass works', async () => {
  const x = leaves()
  const inner = x.map((t) => t.mul(2))
  const remove = inner[1]!.registerHook(() => {
    throw new RangeError('thrown in a hook')
  })
  const loss = () => collectives.allReduce(group, inner).map((t) => t.sum())
  expect(() => backward(loss(), undefined, { retainGraph: true })).toThrow(RangeError)
  remove()
  for (const t of x) t.zeroGrad()
  backward(loss())
  for (const t of x) expect(await t.grad!.toArray()).toEqual([4, 4])
})

hostOnly('slows devices down')('branches on two devices go back at the same time', async () => {
  const [a, b] = group.devices.map((device) => {
    let y = rand([64], { device, requiresGrad: true })
    for (let i = 0; i < 30; i++) y = y.tanh()
    return y
  })
  const loss = a!.add(b!.to({ device: a!.device })).sum()
  await fabric.synchronize()
  for (const ordinal of [0, 1]) faults.setDeviceDelay(ordinal, 2_000)
  fabric.logMode = 'timing'
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  loss.backward()
  await fabric.synchronize()
  const { events } = fabric.snapshot({ since: nextSequence, limit: 65536 })
  const spans = fabric.devices.map(({ index }) => {
    const own = events.filter(
      ({ device, name, deviceNs }) => device === index && name === 'tanh.backward' && deviceNs > 0,
    )
    expect(own.length).toBe(30)
    return { from: own[0]!.deviceNs, to: own.at(-1)!.deviceNs }
  })
  const both = Math.min(spans[0]!.to, spans[1]!.to) - Math.max(spans[0]!.from, spans[1]!.from)
  expect(both).toBeGreaterThan(0) // one after the other it would be negative
})
