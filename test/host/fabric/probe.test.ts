// Tests of pairs of devices as a program asks for them: what works is measured, what fails is named and not used.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openFabric, Snapshot, type Topology, tensor, UsageError } from '../../../dist/index.js'
import { faults } from '../../../dist/testing.js'

let folder: string
let warnings: Error[] = []
const note = (warning: Error) => warnings.push(warning)
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-probe-'))
  process.env.WEFT_CACHE = folder
  warnings = []
  process.on('warning', note)
})
afterEach(() => {
  process.off('warning', note)
  delete process.env.WEFT_CACHE
  delete process.env.WEFT_PROBE
  rmSync(folder, { recursive: true })
  faults.clear()
  faults.forgetProbes()
})

function link(topology: Topology, from: string, to: string) {
  return topology.links.find((each) => each.from === from && each.to === to)!
}

test('each pair is measured by copy engine and by kernel', async () => {
  const fabric = await openFabric({ devices: 'host:0-2' })
  const topology = await fabric.probe()
  expect(topology.links).toHaveLength(6)
  for (const { probe, gbps } of topology.links) {
    expect(probe).toMatchObject({
      reason: '',
      copy: { state: 'works' },
      kernel: { state: 'works' },
    })
    expect(probe!.copy.latencyUs).toBeGreaterThan(0)
    expect(gbps).toBe(probe!.copy.gbps)
  }
})

test('a pair that hangs ends at the deadline, is named and staged', async () => {
  faults.setPairFault(0, 1, 'hangs')
  const fabric = await openFabric({ devices: 'host:0-1' })
  const topology = await fabric.probe({ timeoutMs: 300 })
  expect(link(topology, 'host:0', 'host:1')).toMatchObject({
    kind: 'staged',
    peerAccess: false,
    probe: { copy: { state: 'hangs' }, reason: expect.stringContaining('300 ms') },
  })
  expect(topology.cliques).toEqual([['host:0'], ['host:1']])
})

test('a pair that lies is named, told by snapshots, and its copies are staged with the right bytes', async () => {
  faults.setPairFault(0, 1, 'lies')
  const fabric = await openFabric({ devices: 'host:0-1' })
  expect(await fabric.probe()).toMatchObject({ source: { tested: 2, remembered: 0 } })
  const before = fabric.snapshot()
  const [from, to] = fabric.devices.map((device) => device.index)
  const told = Snapshot.decode(before.bytes).links.find((l) => l.from === from && l.to === to)
  expect(told?.probe).toMatchObject({ copy: { state: 'wrong' }, reason: expect.any(String) })
  expect(told).toMatchObject({ kind: 'staged', peerAccess: false })
  const x = tensor([1, 2, 3], { device: 'host:0' }).to({ device: 'host:1' })
  expect(await x.toArray()).toEqual([1, 2, 3])
  const { counters } = fabric.snapshot()
  expect(counters.staged_copy).toBe(before.counters.staged_copy! + 1)
  expect(counters.peer_copy).toBe(before.counters.peer_copy)
})

const file = () => join(folder, 'probe.json')
const kept = () => JSON.parse(readFileSync(file(), 'utf8'))
/** As another process would: this one's own results are forgotten. */
async function probeAnew(options = {}) {
  faults.forgetProbes()
  return (await openFabric({ devices: 'host:0-1' })).probe(options)
}

test('results are kept for the next process, and a pair that failed is not used there either', async () => {
  faults.setPairFault(0, 1, 'lies')
  const first = await probeAnew()
  expect(first.source).toEqual({ tested: 2, remembered: 0, since: '' })
  expect(readdirSync(folder)).toEqual(['probe.json'])
  faults.clear()
  const second = await probeAnew()
  expect(second.source).toMatchObject({ tested: 0, remembered: 2 })
  expect(new Date(second.source.since).getTime()).toBeLessThanOrEqual(Date.now())
  expect(second.links).toEqual(first.links)
  expect(link(second, 'host:0', 'host:1').kind).toBe('staged')
  const third = await probeAnew({ again: true })
  expect(third.source).toEqual({ tested: 2, remembered: 0, since: '' })
  expect(link(third, 'host:0', 'host:1').peerAccess).toBe(true)
  expect(Object.values<{ reason: string }>(kept().pairs).map((p) => p.reason)).toEqual(['', ''])
})

test('what failed before the machine started again, or under another driver, is tested anew', async () => {
  faults.setPairFault(0, 1, 'lies')
  await probeAnew()
  faults.clear()
  const text = kept()
  const bad = 'host: host-0 to host-1'
  expect(Object.keys(text.pairs)).toEqual([bad, 'host: host-1 to host-0'])
  text.pairs[bad].boot = 'another'
  text.pairs['host 2: host-1 to host-0'] = text.pairs['host: host-1 to host-0']
  delete text.pairs['host: host-1 to host-0']
  writeFileSync(file(), JSON.stringify(text))
  expect((await probeAnew()).source).toMatchObject({ tested: 2, remembered: 0 })
  writeFileSync(file(), JSON.stringify({ ...kept(), machine: 'another' }))
  expect((await probeAnew()).source).toMatchObject({ tested: 2, remembered: 0 })
  expect(warnings).toEqual([])
})

test('a damaged file is one warning that names it, a new test, and replaced', async () => {
  await probeAnew()
  const good = kept()
  const lying = structuredClone(good)
  lying.pairs['host: host-0 to host-1'].copy.state = 'wrong' // and yet no reason
  for (const text of ['{', '[]', 'null', JSON.stringify(lying)]) {
    warnings = []
    writeFileSync(file(), text)
    expect((await probeAnew()).source).toMatchObject({ tested: 2, remembered: 0 })
    await new Promise((resolve) => setImmediate(resolve)) // warnings are told on the next turn
    expect(warnings.map((warning) => warning.message)).toEqual([
      expect.stringContaining('probe.json is damaged'),
    ])
    expect(Object.keys(kept().pairs)).toEqual(Object.keys(good.pairs))
  }
})

test('WEFT_PROBE: off neither reads nor writes, force tests anew; other values are refused', async () => {
  process.env.WEFT_PROBE = 'off'
  expect((await probeAnew()).source.tested).toBe(2)
  expect(readdirSync(folder)).toEqual([])
  process.env.WEFT_PROBE = 'force'
  expect((await probeAnew()).source.tested).toBe(2)
  expect((await probeAnew()).source.tested).toBe(2)
  expect((await probeAnew({ cache: 'cached' })).source.remembered).toBe(2)
  process.env.WEFT_PROBE = 'maybe'
  await expect(probeAnew()).rejects.toThrow(/WEFT_PROBE is "maybe": use off, cached, force/)
  await expect(probeAnew({ cache: 'no' })).rejects.toThrow(UsageError)
})

test('a folder that cannot be written is a warning, and the answer comes all the same', async () => {
  writeFileSync(join(folder, 'file'), '')
  process.env.WEFT_CACHE = join(folder, 'file', 'inside')
  const { source } = await probeAnew()
  process.env.WEFT_CACHE = folder
  await new Promise((resolve) => setImmediate(resolve))
  expect(source.tested).toBe(2)
  expect(warnings.map((warning) => warning.name)).toContain('WeftProbeFile')
  expect(warnings.at(-1)?.message).toContain('cannot be written')
})
