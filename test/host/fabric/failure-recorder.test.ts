// The flight recorder outside training runs: a collective that fails leaves a file, and its error names it.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  type CollectiveTimeoutError,
  DesyncError,
  GroupAbortedError,
  openFabric,
  Snapshot,
  tensor,
  UsageError,
} from 'weft'
import { recordFailures } from '../../../dist/fabric/failure-recorder.js'
import { device, several } from '../device.js'

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

test('an abort at every rank is recorded once, with its reason', async () => {
  using fabric = await open(folder)
  using group = fabric.group()
  const work = group.rank(0).allReduce(tensor([1], { device: group.devices[0]! }))
  group.abort(new Error('enough of it'))
  const error = await work.done.catch((reason) => reason)
  expect(error).toBeInstanceOf(GroupAbortedError)
  expect(error.message).toContain('enough of it')
  expect(decode(error.flightRecord).groups.at(-1)!.aborted).toContain('enough of it')
  expect(readdirSync(folder)).toHaveLength(1)
})

const child = (body: string, env: Record<string, string> = {}) =>
  spawnSync(process.execPath, ['--input-type=module', '-e', body], {
    cwd: fileURLToPath(new URL('../../..', import.meta.url)),
    encoding: 'utf8',
    timeout: 60_000,
    env: { ...process.env, ...env },
  })

test('an operator on a lost device: its error names the record, and so do all later ones', () => {
  const ran = child(
    `import { openFabric, ones } from 'weft'
     import { faults } from 'weft/testing'
     const fabric = await openFabric({ devices: ['${device}'] })
     const x = ones([4])
     faults.illegalAddress('${device}')
     await fabric.synchronize().catch(() => {})
     const errors = [0, 1].map(() => { try { x.add(1) } catch (error) { return error } })
     console.log(JSON.stringify(errors.map((e) => [e?.code, e?.flightRecord, e?.message])))`,
    { WEFT_FLIGHT_RECORDER: folder },
  )
  expect(ran.stderr).toBe('')
  const [[code, path, message], again] = JSON.parse(ran.stdout)
  expect([code, path]).toEqual(['WEFT_FABRIC_POISONED', expect.stringMatching(/flight-.*\.bin$/)])
  expect(message).toContain(path)
  expect(again.slice(0, 2)).toEqual([code, path])
  expect(decode(path).poisoned).toBeDefined()
  expect(readdirSync(folder)).toHaveLength(1)
})

test('a worker dies in a run without a folder: the record goes to the recorder, named by the error', () => {
  const ran = child(
    `import { Trainer } from 'weft'
     const task = new URL('test/host/tasks/faulty.mjs', 'file://' + process.cwd() + '/')
     const choice = ${JSON.stringify(several(2))}
     await new Trainer({ task, ...choice, steps: 20, batchSize: 8, run: false }).fit().catch((error) => {
       console.log(JSON.stringify([error.code, error.flightRecord, error.message]))
     })`,
    { WEFT_FLIGHT_RECORDER: folder, WEFT_TEST_FAULT: 'exit:1:4' },
  )
  const [code, path, message] = JSON.parse(ran.stdout)
  expect(code).toBe('WEFT_WORKER')
  expect(message).toContain(path)
  const { groups, events } = decode(path)
  expect(groups).toHaveLength(1)
  expect(events.some((event) => event.kind === 'step' && event.id === 3)).toBe(true)
})
