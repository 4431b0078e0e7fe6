// The flight recorder outside training runs: a collective that fails leaves a file, and its error names it.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  type CollectiveTimeoutError,
  DesyncError,
  openFabric,
  Snapshot,
  tensor,
  UsageError,
} from 'weft'
import { recordFailures } from '../../../dist/fabric/failure-recorder.js'
import { several } from '../device.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-flight-'))
})
afterEach(() => {
  recordFailures(undefined)
  rmSync(folder, { recursive: true })
})

const open = (flightRecorder?: string) =>
  openFabric({ ...several(2), ...(flightRecorder !== undefined && { flightRecorder }) })
const decode = (path: string) => {
  const bytes = readFileSync(path)
  return Snapshot.decode(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
}

test('a rank that never comes: the error names the file within a second of the deadline', async () => {
  const to = join(folder, 'made', 'here')
  using fabric = await open(to)
  expect(fabric.logMode).not.toBe('off')
  using group = fabric.group()
  const begun = performance.now()
  const error: CollectiveTimeoutError = await group
    .rank(0)
    .allReduce(tensor([1, 2], { device: group.devices[0]! }), { timeoutMs: 200 })
    .done.then(
      () => expect.unreachable(),
      (reason) => reason,
    )
  expect(performance.now() - begun).toBeLessThan(1200)
  expect(error.code).toBe('WEFT_COLLECTIVE_TIMEOUT')
  expect(error.flightRecord).toMatch(/flight-\d+-\d+-\d+\.bin$/)
  expect(error.message).toContain(error.flightRecord)
  expect(readdirSync(to)).toHaveLength(1)
  const events = decode(error.flightRecord!).events.map((each) => each.kind)
  expect(events.length).toBeGreaterThan(0)
})

test('ranks that fail of one cause share a file', async () => {
  using fabric = await open(folder)
  using group = fabric.group()
  const works = [0, 1].map((r) =>
    group.rank(r).allReduce(tensor(r === 0 ? [1] : [1, 2], { device: group.devices[r]! })),
  )
  const errors = (await Promise.allSettled(works.map((work) => work.done))).map(
    (each) => (each as PromiseRejectedResult).reason as DesyncError,
  )
  for (const error of errors) expect(error).toBeInstanceOf(DesyncError)
  expect(new Set(errors.map((each) => each.flightRecord)).size).toBe(1)
  expect(readdirSync(folder)).toHaveLength(1)
})

test('without a folder nothing is written, and the error stays as it was', async () => {
  using fabric = await open()
  using group = fabric.group()
  const work = group
    .rank(0)
    .allReduce(tensor([1], { device: group.devices[0]! }), { timeoutMs: 50 })
  const error = await work.done.catch((reason) => reason)
  expect(error.code).toBe('WEFT_COLLECTIVE_TIMEOUT')
  expect(error.flightRecord).toBeUndefined()
  expect(error.message).not.toContain('flight recorder')
})

test('a folder that cannot be made is a UsageError', async () => {
  const file = join(folder, 'file')
  writeFileSync(file, '')
  await expect(open(join(file, 'inside'))).rejects.toThrow(UsageError)
  expect(existsSync(join(file, 'inside'))).toBe(false)
})
