// Decoding packed snapshots: bytes made here by hand, as native/binding/fabric/snapshot.cc lays them out.
import { expect, test } from 'vitest'
import { Snapshot } from '../../src/fabric/snapshot.js'
import { CheckpointError } from '../../src/native/errors.js'

/** A snapshot with one text, one counter and the given events. */
function packed(events: { sequence: bigint; kind: number; device: number; detail: number }[]) {
  const text = new TextEncoder().encode('bytes…')
  const sections = [
    { kind: 1, count: text.length, bytes: text.length },
    { kind: 6, count: 1, bytes: 16 },
    { kind: 7, count: events.length, bytes: events.length * 64 },
  ]
  const buffer = new ArrayBuffer(64 + 16 * sections.length + 16 + 16 + events.length * 64)
  const view = new DataView(buffer)
  view.setUint32(0, 0x50534657, true)
  view.setUint32(4, 1, true)
  view.setUint32(8, buffer.byteLength, true)
  view.setUint32(12, sections.length, true)
  view.setBigUint64(16, 2n ** 40n + 5n, true)
  view.setFloat64(24, 1234.5, true)
  view.setBigUint64(32, 9n, true)
  view.setBigUint64(40, 2n, true)
  view.setUint32(56, 1, true)
  let at = 64 + 16 * sections.length
  const offsets = sections.map((s, i) => {
    const offset = at
    ;[s.kind, s.count, offset, s.bytes].forEach((value, k) => {
      view.setUint32(64 + 16 * i + 4 * k, value, true)
    })
    at = Math.ceil((at + s.bytes) / 8) * 8
    return offset
  })
  new Uint8Array(buffer).set(text, offsets[0])
  view.setUint32(offsets[1]! + 4, text.length, true)
  view.setFloat64(offsets[1]! + 8, 77, true)
  events.forEach((event, i) => {
    const base = offsets[2]! + 64 * i
    view.setBigUint64(base, event.sequence, true)
    view.setBigUint64(base + 24, 4096n, true)
    view.setUint16(base + 40, event.kind, true)
    view.setUint16(base + 42, event.device, true)
    view.setUint16(base + 46, 0xffff, true)
    view.setUint32(base + 48, event.detail, true)
  })
  return buffer
}

test('header, text, counters and events', () => {
  const snapshot = Snapshot.decode(
    packed([
      { sequence: 7n, kind: 0, device: 2, detail: 5 },
      { sequence: 8n, kind: 7, device: 0xffff, detail: 0x301 },
    ]),
  )
  expect(snapshot).toMatchObject({
    takenNs: 2 ** 40 + 5,
    takenUnixMs: 1234.5,
    nextSequence: 9,
    dropped: 2,
    logMode: 'basic',
    eventCount: 2,
  })
  expect(snapshot.counters).toEqual({ 'bytes…': 77 })
  expect(snapshot.events[0]).toMatchObject({
    sequence: 7,
    kind: 'operator',
    name: 'add',
    device: 2,
    peer: -1,
    bytes: 4096,
  })
  expect(snapshot.events[1]).toMatchObject({
    kind: 'collective_launch',
    name: 'broadcast',
    device: -1,
  })
  expect(snapshot.devices).toEqual([])
  expect(JSON.parse(JSON.stringify(snapshot)).events).toHaveLength(2)
})

test('a view into a larger buffer decodes too', () => {
  const bytes = new Uint8Array(packed([]))
  const shifted = new Uint8Array(bytes.length + 3)
  shifted.set(bytes, 3)
  expect(Snapshot.decode(shifted.subarray(3)).nextSequence).toBe(9)
})

test('other data, other versions and cut files are refused', () => {
  expect(() => Snapshot.decode(new ArrayBuffer(100))).toThrow(CheckpointError)
  const newer = packed([])
  new DataView(newer).setUint32(4, 5, true)
  expect(() => Snapshot.decode(newer)).toThrow(/version 5/)
  expect(() => Snapshot.decode(packed([]).slice(0, 100))).toThrow(/cut short/)
})

/** A snapshot of the given version with one link, kind and way between as its two texts. */
function withLink(version: 1 | 2) {
  const stride = version === 1 ? 24 : 48
  const text = new TextEncoder().encode('nvlinkNVSwitch')
  const buffer = new ArrayBuffer(64 + 2 * 16 + 16 + stride)
  const view = new DataView(buffer)
  view.setUint32(0, 0x50534657, true)
  view.setUint32(4, version, true)
  view.setUint32(8, buffer.byteLength, true)
  view.setUint32(12, 2, true)
  ;[1, text.length, 96, text.length, 3, 1, 112, stride].forEach((value, i) => {
    view.setUint32(64 + 4 * i, value, true)
  })
  new Uint8Array(buffer).set(text, 96)
  view.setUint16(112 + 2, 1, true)
  view.setUint32(112 + 4, 1, true)
  view.setFloat64(112 + 8, 381, true)
  view.setUint32(112 + 20, 6, true)
  if (version === 2) {
    view.setFloat64(112 + 24, 478, true)
    view.setUint32(112 + 32, 6, true)
    view.setUint32(112 + 36, 8, true)
    view.setUint32(112 + 40, 18, true)
  }
  return buffer
}

test('links of this version and of the one before', () => {
  const measured = { from: 0, to: 1, peerAccess: true, gbps: 381, kind: 'nvlink' }
  expect(Snapshot.decode(withLink(2)).links).toEqual([
    { ...measured, lanes: 18, nominalGbps: 478, through: 'NVSwitch' },
  ])
  expect(Snapshot.decode(withLink(1)).links).toEqual([
    { ...measured, lanes: 0, nominalGbps: 0, through: '' },
  ])
})
