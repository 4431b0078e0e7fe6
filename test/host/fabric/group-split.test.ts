// Group.split: which ranks come together, in which order, and that the new groups go their own ways.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Fabric, type Group, openFabric, tensor, UsageError } from 'weft'
import { several } from '../device.js'

let fabric: Fabric
let group: Group
beforeEach(async () => {
  fabric = await openFabric(several(4))
  group = fabric.group()
})
afterEach(() => group.dispose())

const sums = async (of: Group, values: number[]) => {
  const tensors = of.devices.map((device, r) => tensor([values[r]!], { device }))
  await of.allReduce(tensors)
  return Promise.all(tensors.map((t) => t.toArray()))
}

test('ranks of one colour share a group in rank order, and each group sums alone', async () => {
  const made = group.split([1, 0, 1, 0])
  expect(made[0]).toBe(made[2])
  expect(made[1]).toBe(made[3])
  expect(made[0]!.devices).toEqual([group.devices[0], group.devices[2]])
  expect(made[1]!.devices).toEqual([group.devices[1], group.devices[3]])
  expect(await sums(made[0]!, [1, 2])).toEqual([[3], [3]])
  expect(await sums(made[1]!, [10, 20])).toEqual([[30], [30]])
  expect(await sums(group, [1, 2, 3, 4])).toEqual([[10], [10], [10], [10]])
  for (const each of new Set(made)) each!.dispose()
})

test('keys order the ranks, equal keys keep the order of the group; undefined belongs to none', () => {
  const made = group.split([7, 7, undefined, 7], [1, 0, 5, 0])
  expect(made[2]).toBeUndefined()
  expect(made[0]!.devices).toEqual([group.devices[1], group.devices[3], group.devices[0]])
  made[0]!.dispose()
})

test('an abort of one part leaves the other and the whole as they are', async () => {
  const [first, , second] = group.split([0, 0, 1, 1])
  first!.abort(new UsageError('stop'))
  expect(() => first!.allReduce(first!.devices.map((device) => tensor([1], { device })))).toThrow(
    'stop',
  )
  expect(await sums(second!, [3, 4])).toEqual([[7], [7]])
  expect(await sums(group, [1, 1, 1, 1])).toEqual([[4], [4], [4], [4]])
  first!.dispose()
  second!.dispose()
})

test('lists that do not fit are refused by name and make nothing', () => {
  expect(() => group.split([0, 1])).toThrow(/split: 4 ranks need 4 colors, 2 were given/)
  expect(() => group.split([0, 0, 0, 0], [1])).toThrow(/4 ranks need 4 keys/)
  expect(() => group.split([0, 0.5, 0, 0])).toThrow(UsageError)
  expect(() => group.split([0, 0, 0, 0], [0, Number.NaN, 0, 0])).toThrow(/key of rank 1/)
})
