// `weft inspect` over a snapshot of real work in mode timing, and its Perfetto trace, decoded again.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Group, openFabric, synchronize, tag, tensor, zeros } from 'weft'
import { several, severalNames } from '../device.js'

const main = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'weft-inspect-'))
const file = join(folder, 'snapshot.bin')
const [first, second] = severalNames(2) as [string, string]
const weft = (...args: string[]) =>
  spawnSync(process.execPath, [main, 'inspect', ...args], { encoding: 'utf8', timeout: 60_000 })
let group: Group

beforeAll(async () => {
  const fabric = await openFabric({ ...several(2), log: 'timing' })
  group = fabric.group()
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  fabric.markStep(1)
  const x = tag('forward', () =>
    tag('sum', () => zeros([1 << 16], { device: first }).add(1)).mul(1),
  )
  await x.to({ device: second }).mul(2).toArray()
  const tensors = group.devices.map((device) => zeros([1 << 18], { device }))
  await tag('reduce', () => group.allReduce(tensors))
  fabric.markStep(2)
  zeros([4], { device: first }).add(1)
  fabric.markStep()
  await Promise.all([synchronize(first), synchronize(second)])
  const open = group.rank(0).allReduce(tensor([1], { device: first }))
  const snapshot = fabric.snapshot({ since: nextSequence, limit: 65_536 })
  writeFileSync(file, new Uint8Array(snapshot.bytes))
  await Promise.all([open, group.rank(1).allReduce(tensor([1], { device: second }))])
  fabric.logMode = 'off'
})
afterAll(() => {
  group.dispose()
  rmSync(folder, { recursive: true })
})

test('text: streams, waits, copies, communication, arrivals, memory, the open call', () => {
  const { stdout, stderr, status } = weft(file)
  expect(stderr).toBe('')
  expect(status).toBe(0)
  expect(stdout).toContain(`${first} compute: `)
  expect(stdout).toContain(`${second} comm: `)
  expect(stdout).toContain(`${first} with ${second}: `)
  expect(stdout).toMatch(
    /all_reduce of 1 x f32, call 2 of group \d+: rank 0 has waited \d+ ms for rank 1/,
  )
  for (const title of ['longest waits', 'communication', 'arrival at collectives', 'memory']) {
    expect(stdout).toContain(`\n${title}\n`)
  }
})

test('--json: bytes over a link, rates, and no more exposed communication than there was', () => {
  const summary = JSON.parse(weft(file, '--json').stdout)
  const link = summary.links.find((l: { device: string }) => l.device === first)
  expect(link.bytes).toBeGreaterThanOrEqual(4 << 16)
  expect(link.gbps).toBeGreaterThan(0)
  for (const { ns, exposedNs } of summary.communication) {
    expect(ns).toBeGreaterThan(0)
    expect(exposedNs).toBeLessThanOrEqual(ns)
  }
  expect(summary.arrivals.map((a: { calls: number }) => a.calls)).toEqual([2, 1])
  expect(summary.waits[0].on).toBeDefined()
})

test('--perfetto: every stream a track, slices begin and end, flows lead to another device', () => {
  const trace = join(folder, 'out.pftrace')
  const { stdout, status } = weft(file, '--perfetto', trace)
  expect(status).toBe(0)
  expect(stdout).toContain('ui.perfetto.dev')
  const packets = fieldsOf(readFileSync(trace)).map(({ value }) => fieldsOf(value as Uint8Array))
  const text = (value: unknown) => new TextDecoder().decode(value as Uint8Array)
  const inside = (number: number) =>
    packets.flatMap((packet) =>
      packet
        .filter((f) => f.number === number)
        .map((f) => ({ packet, body: fieldsOf(f.value as Uint8Array) })),
    )
  const get = (fields: Field[], number: number) => fields.find((f) => f.number === number)?.value
  const tracks = inside(60).map(({ body }) => text(get(body, 2)))
  expect(tracks).toEqual(expect.arrayContaining([`${first} compute`, `${second} comm`]))
  expect(tracks).toContain(`${first} bytes copied`)
  const uuids = inside(60).map(({ body }) => get(body, 1))
  const events = inside(11)
  const open = new Map<unknown, number>()
  const last = new Map<unknown, bigint>()
  let slices = 0
  for (const { packet, body } of events) {
    const [type, track, at] = [get(body, 9), get(body, 11), get(packet, 8) as bigint]
    expect(uuids).toContain(track)
    expect(at).toBeGreaterThanOrEqual(last.get(track) ?? 0n)
    last.set(track, at)
    if (type === 1n) {
      slices++
      open.set(track, (open.get(track) ?? 0) + 1)
    }
    if (type === 2n) open.set(track, (open.get(track) ?? 0) - 1)
  }
  expect(slices).toBeGreaterThan(5)
  expect([...open.values()].every((depth) => depth === 0)).toBe(true)
  const trackOf = (field: number) =>
    new Map(
      events.flatMap(({ body }) =>
        body.filter((f) => f.number === field).map((f) => [f.value, get(body, 11)] as const),
      ),
    )
  const [starts, ends] = [trackOf(47), trackOf(48)]
  expect(starts.size).toBeGreaterThan(0)
  expect([...starts.keys()].sort()).toEqual([...ends.keys()].sort())
  for (const [flow, track] of starts) expect(ends.get(flow)).not.toBe(track)
})

test('tags and steps: work by tag, and communication and lateness in the step in which they were', () => {
  const { stdout } = weft(file)
  expect(stdout).toMatch(/\ntags\n(.*\n)*? {2}forward\/sum: [1-9]\d* records, busy /)
  expect(stdout).toMatch(/\n {2}step 1: .*exposed communication .* \| .*, late /)
  const summary = JSON.parse(weft(file, '--json').stdout)
  expect(summary.tags.map((row: { tag: string }) => row.tag).sort()).toEqual([
    'forward',
    'forward/sum',
    'reduce',
  ])
  const [one, two] = summary.steps
  expect([one.step, two.step, summary.steps.length]).toEqual([1, 2, 2])
  for (const device of one.devices) {
    expect(device).toMatchObject({ calls: 1 })
    expect(device.communicationNs).toBeGreaterThan(0)
    expect(device.exposedNs).toBeLessThanOrEqual(device.communicationNs)
    expect(device.communicationNs).toBeLessThanOrEqual(device.ns)
  }
  for (const device of two.devices) {
    expect(device).toMatchObject({ calls: 0, communicationNs: 0, meanLateNs: 0 })
  }
})

test('memory by pool: what is used of what each holds', () => {
  expect(weft(file).stdout).toMatch(
    /\n {4}pool shared, small: \S+ \S+ of \S+ \S+ used, \d+ segment/,
  )
  const [memory] = JSON.parse(weft(file, '--json').stdout).memory
  const sum = memory.pools.reduce(
    (s: number, p: { reservedBytes: number }) => s + p.reservedBytes,
    0,
  )
  expect(sum).toBe(memory.reservedBytes)
})

test('--perfetto: a tag is a slice around its work, and a note on each record; steps have a track', () => {
  const trace = join(folder, 'tags.pftrace')
  weft(file, '--perfetto', trace)
  const text = readFileSync(trace).toString('latin1')
  expect(text).toContain(`${first} steps`)
  expect(text).toContain('step 1')
  expect(text).toContain('forward/sum')
})

test('a file that is none, and one that is missing, are named', () => {
  writeFileSync(join(folder, 'other'), 'x'.repeat(100))
  expect(weft(join(folder, 'other'))).toMatchObject({ status: 1 })
  expect(weft(join(folder, 'other')).stderr).toContain('not a weft snapshot')
  const { status, stderr } = weft(join(folder, 'none.bin'))
  expect(status).toBe(2)
  expect(stderr).toContain('none.bin cannot be read')
})

interface Field {
  number: number
  value: bigint | Uint8Array
}

/** Fields of one protobuf message: varints and 64-bit words as bigint, blocks as bytes. */
function fieldsOf(bytes: Uint8Array): Field[] {
  const fields: Field[] = []
  let at = 0
  const varint = () => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const key = Number(varint())
    const number = key >> 3
    if ((key & 7) === 0) fields.push({ number, value: varint() })
    else if ((key & 7) === 1) {
      fields.push({
        number,
        value: new DataView(bytes.buffer, bytes.byteOffset + at).getBigUint64(0, true),
      })
      at += 8
    } else if ((key & 7) === 2) {
      const length = Number(varint())
      fields.push({ number, value: bytes.subarray(at, at + length) })
      at += length
    } else throw new Error(`wire type ${key & 7}`)
  }
  return fields
}
