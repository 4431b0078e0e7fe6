// TensorBoard's event files, byte by byte: known sums, whole records, files that do not meet. Its own reader tries them
// in test/host/train/tensorboard.test.ts.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { crc32c, EventFile } from '../../src/metrics/sinks/event-file.js'

it('sums as RFC 3720 does', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
  expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43)
  expect(crc32c(new Uint8Array(0))).toBe(0)
})

it('writes whole records, the version first, and never into a file that is there', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-events-'))
  try {
    const files = [new EventFile(folder), new EventFile(folder)]
    files[0]!.scalars(300, { 'train/loss': 0.5 })
    for (const file of files) file.close()
    files[0]!.scalars(301, { 'train/loss': 0.5 }) // closed: nothing
    expect(readdirSync(folder)).toHaveLength(2)
    const bytes = readFileSync(files[0]!.path)
    const records: Buffer[] = []
    for (let at = 0; at < bytes.length; ) {
      const length = Number(bytes.readBigUInt64LE(at))
      records.push(bytes.subarray(at + 12, at + 12 + length))
      at += length + 16
    }
    expect(records).toHaveLength(2)
    expect(records[0]!.toString('latin1')).toContain('brain.Event:2')
    expect(records[1]!.subarray(9, 12)).toEqual(Buffer.from([0x10, 0xac, 0x02])) // field 2: step 300
    expect(records[1]!.subarray(-5)).toEqual(Buffer.from([0x15, 0, 0, 0, 0x3f])) // field 2: 0.5 in four bytes
    expect(readFileSync(files[1]!.path)).toHaveLength(bytes.readUInt32LE(0) + 16)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
