// Groups over the same devices run beside each other: one finishes while another is held up, each on
// streams of its own, which a snapshot names.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createStream, type Fabric, type Group, openFabric, tensor, withStream } from 'weft'
import { faults } from 'weft/testing'
import { lanesOf } from '../../../src/inspect/timeline.js'
import { hostOnly, several } from '../device.js'

let fabric: Fabric
const groups: Group[] = []
const made = (names?: string[]) => {
  const group = fabric.group(names)
  groups.push(group)
  return group
}
beforeEach(async () => {
  fabric = await openFabric(several(3))
})
afterEach(async () => {
  faults.clear()
  await fabric.synchronize()
  for (const group of groups.splice(0)) group.dispose()
})
const parts = (group: Group, value: number) =>
  group.devices.map((device) => tensor([value], { device }))

hostOnly('faults')('a group is done while another over its devices cannot go on', async () => {
  const whole = made()
  const two = made([fabric.devices[0]!.name, fabric.devices[2]!.name])
  const [held, free] = [parts(whole, 1), parts(two, 10)]
  await fabric.synchronize()
  faults.setPairFault(0, 1, 'hangs')
  faults.setPairFault(1, 0, 'hangs')
  // On streams of their own: the devices' current streams do not wait for the result.
  const call = () => whole.broadcast(held)
  const late = whole.devices.reduce<() => ReturnType<typeof call>>(
    (inner, device) => () => withStream(createStream(device), inner),
    call,
  )()
  const early = two.broadcast(free, { root: 1 })
  await early
  expect(late.isDone).toBe(false)
  expect(await free[0]!.toArray()).toEqual([10])
  faults.clear()
  await late
  expect(await held[1]!.toArray()).toEqual([1])
})

test('a snapshot tells the streams of two groups apart', async () => {
  const [first, second] = [made(), made()]
  const before = fabric.snapshot().nextSequence
  fabric.logMode = 'basic'
  await first.allReduce(parts(first, 1))
  await second.allReduce(parts(second, 2))
  const snapshot = fabric.snapshot({ since: before })
  fabric.logMode = 'off'
  const launches = (group: Group) =>
    snapshot.events.filter((e) => e.kind === 'collective_launch' && e.detail >>> 8 === group.id)
  const streams = (group: Group) => new Set(launches(group).map((e) => `${e.device} ${e.stream}`))
  expect(streams(first).size).toBe(3)
  expect(new Set([...streams(first), ...streams(second)]).size).toBe(6)
  const names = lanesOf(snapshot).map((lane) => lane.name)
  expect(new Set(names).size).toBe(names.length)
  expect(names.filter((name) => / comm( \d+)?$/.test(name)).length).toBeGreaterThanOrEqual(6)
})

test('groups come and go without end; each works', async () => {
  const streams = () => fabric.snapshot().streams.length
  made()
  for (let i = 0; i < 8; i++) made().dispose()
  for (let i = 0; i < 6; i++) made()
  const before = streams()
  for (let i = 0; i < 50; i++) {
    const group = made()
    const tensors = parts(group, i)
    await group.allReduce(tensors)
    expect(await tensors[2]!.toArray()).toEqual([3 * i])
    group.dispose()
    for (const t of tensors) t.dispose()
  }
  expect(streams()).toBe(before)
})
