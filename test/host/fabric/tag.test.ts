// tag() and markStep(): names and steps reach the records of the event log, and nothing else.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fabric, ones, openFabric, type SnapshotEvent, tag, tensor, UsageError } from 'weft'
import { several, severalNames } from '../device.js'

let fabric: Fabric
const [first, second] = severalNames(2) as [string, string]
beforeAll(async () => {
  fabric = await openFabric({ ...several(2), log: 'basic' })
})
afterAll(() => {
  fabric.logMode = 'off'
})

/** What `body` logged. */
function logged(body: () => void): readonly SnapshotEvent[] {
  const since = fabric.snapshot({ limit: 0 }).nextSequence
  body()
  return fabric.snapshot({ since, limit: 4096 }).events
}
const tagOf = (events: readonly SnapshotEvent[], name: string) =>
  events.find((event) => event.kind === 'operator' && event.name === name)?.tag

test('a tag is on what is enqueued inside it, nested tags are a path, and it ends with the function', () => {
  const x = tensor([1, 2])
  const events = logged(() => {
    const made = tag('forward', () => tag('attention', () => x.mul(2)).add(1))
    expect(made.shape).toEqual([2])
    x.relu()
  })
  expect(tagOf(events, 'mul_scalar')).toBe('forward/attention')
  expect(tagOf(events, 'add_scalar')).toBe('forward')
  expect(events.some((event) => event.name === 'relu')).toBe(true)
  expect(tagOf(events, 'relu')).toBeUndefined()
})

test('a backward pass carries the tag of its caller on every device that it runs on', () => {
  const x = ones([4], { device: first, requiresGrad: true })
  const y = x.mul(2).to({ device: second }).mul(3).sum()
  const events = logged(() => tag('backward', () => y.backward()))
  const work = events.filter((event) => event.kind === 'operator')
  expect(new Set(work.map((event) => event.device)).size).toBe(2)
  expect(new Set(work.map((event) => event.tag))).toEqual(new Set(['backward']))
})

test('collectives carry it too, and a follower of the log sees it', async () => {
  using group = fabric.group()
  const stream = fabric.events({ kinds: ['collective_launch'] })
  const parts = group.devices.map((device) => ones([8], { device }))
  await tag('reduce', () => group.allReduce(parts))
  for await (const event of stream) {
    expect(event.tag).toBe('reduce')
    break
  }
})

test('it ends when the function throws; a promise and a name that is none are UsageErrors', () => {
  const x = tensor([1])
  expect(() =>
    tag('broken', () => {
      throw new Error('inside')
    }),
  ).toThrow('inside')
  expect(() => tag('late', async () => {})).toThrow(/synchronous/)
  expect(() => tag('', () => 1)).toThrow(UsageError)
  expect(
    tagOf(
      logged(() => x.relu()),
      'relu',
    ),
  ).toBeUndefined()
})

test('while the log is off no tag is noted, and the function runs as ever', () => {
  fabric.logMode = 'off'
  expect(tag('never', () => 7)).toBe(7)
  expect(() => tag('never', async () => {})).toThrow(UsageError)
  fabric.logMode = 'basic'
  const bytes = Buffer.from(fabric.snapshot({ limit: 0 }).bytes).toString('latin1')
  expect(bytes).not.toContain('never')
})

test('a step is marked on every device, and other numbers are refused', () => {
  const events = logged(() => {
    fabric.markStep(3)
    fabric.markStep()
  })
  expect(events.map(({ kind, id, device }) => [kind, id, device])).toEqual([
    ['step', 3, fabric.devices[0]!.index],
    ['step', 3, fabric.devices[1]!.index],
    ['step', 0, fabric.devices[0]!.index],
    ['step', 0, fabric.devices[1]!.index],
  ])
  for (const step of [-1, 1.5, Number.NaN]) expect(() => fabric.markStep(step)).toThrow(UsageError)
})
