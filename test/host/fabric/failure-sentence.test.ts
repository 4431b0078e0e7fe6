// When a collective fails, every rank that called hears of it within a second of the deadline, in one
// sentence: who waits for whom in which operation, or what differs.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Fabric, type Group, openFabric, tensor, type WeftError } from 'weft'
import { faults } from 'weft/testing'
import { hostOnly, several } from '../device.js'

const timeoutMs = 300
let fabric: Fabric
let group: Group
beforeEach(async () => {
  fabric = await openFabric(several(3))
  group = fabric.group()
})
afterEach(() => {
  faults.clear()
  group.dispose()
  fabric.close()
})

const call = (rank: number, values: number[], op: 'sum' | 'max' = 'sum') =>
  group.rank(rank).allReduce(tensor(values, { device: group.devices[rank]! }), { op, timeoutMs })

/** The errors of the works, and how long after the first call the last one came. */
async function failures(works: { done: Promise<void> }[], begun: number) {
  const errors = await Promise.all(
    works.map((work) =>
      work.done.then(
        () => expect.unreachable('it should have failed'),
        (reason: WeftError) => reason,
      ),
    ),
  )
  return { errors, took: performance.now() - begun }
}

const worksAgain = async () => {
  await Promise.all([0, 1, 2].map((r) => call(r, [r]).done))
}

test('a rank never comes: who waits for it, in what, since when', async () => {
  const begun = performance.now()
  const { errors, took } = await failures([call(0, [1, 2]), call(2, [1, 2])], begun)
  expect(took).toBeGreaterThanOrEqual(timeoutMs - 1)
  expect(took).toBeLessThan(timeoutMs + 1000)
  for (const error of errors) {
    expect(error.code).toBe('WEFT_COLLECTIVE_TIMEOUT')
    expect(error.message).toMatch(
      /all_reduce.*rank 1 did not arrive within \d{3,4} ms; ranks 0, 2 waited together since .* UTC; rank 1 \(.*\) is before the call/,
    )
  }
})

test('a rank comes after the deadline: it hears at once of the call that is over', async () => {
  const { errors } = await failures([call(0, [1]), call(2, [1])], performance.now())
  const begun = performance.now()
  const late = await failures([call(1, [1])], begun)
  expect(late.took).toBeLessThan(1000)
  for (const error of [...errors, ...late.errors]) {
    expect(error.code).toBe('WEFT_COLLECTIVE_TIMEOUT')
    expect(error.message).toMatch(/rank 1 did not arrive within \d{3,4} ms/)
  }
  await worksAgain()
})

hostOnly('a device that is too slow')(
  'a device stands still after the launch: which ranks have no result, since when',
  async () => {
    const ordinal = fabric.devices[2]!.ordinal
    faults.setDeviceDelay(ordinal, 900_000)
    const begun = performance.now()
    const { errors, took } = await failures(
      [0, 1, 2].map((r) => call(r, [r])),
      begun,
    )
    faults.clear()
    expect(took).toBeLessThan(timeoutMs + 1000)
    for (const error of errors) {
      expect(error.code).toBe('WEFT_COLLECTIVE_TIMEOUT')
      expect(error.message).toMatch(/all_reduce.*launched/)
    }
    await fabric.synchronize()
  },
)

test('arguments differ: every rank hears within a second which rank differs, and in what', async () => {
  for (const [odd, what] of [
    [() => call(1, [1, 2, 3]), /rank 1.*\b3\b/],
    [() => call(1, [1, 2], 'max'), /rank 1.*max/],
  ] as const) {
    const begun = performance.now()
    const { errors, took } = await failures([call(0, [1, 2]), odd(), call(2, [1, 2])], begun)
    expect(took).toBeLessThan(1000)
    for (const error of errors) {
      expect(error.code).toBe('WEFT_DESYNC')
      expect(error.message).toMatch(what)
      expect(error.message).toContain('all_reduce')
    }
  }
  await worksAgain()
})
