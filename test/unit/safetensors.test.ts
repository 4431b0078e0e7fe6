// Safetensors bytes both ways, damaged files, and writes that are whole or not at all.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { writeAtomically } from '../../src/checkpoint/atomic-write.js'
import {
  parseSafetensors,
  type SafetensorsEntry,
  safetensorsPieces,
} from '../../src/checkpoint/safetensors.js'
import { CheckpointError } from '../../src/native/errors.js'
import { bytesPerElement, dtypeNames } from '../../src/tensor/dtype.js'

const file = (tensors: Record<string, SafetensorsEntry>, metadata?: Record<string, string>) =>
  new Uint8Array(Buffer.concat(safetensorsPieces(tensors, metadata)))

const entry = fc
  .record({
    dtype: fc.constantFrom(...dtypeNames),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
  })
  .chain(({ dtype, shape }) => {
    const length = shape.reduce((count, size) => count * size, bytesPerElement(dtype))
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((bytes): SafetensorsEntry => ({ dtype, shape, bytes }))
  })

const name = fc.stringMatching(/^[a-z][a-z0-9.]{0,12}$/)

describe('safetensors', () => {
  it('reads back what it wrote, for any tensors', () => {
    fc.assert(
      fc.property(fc.dictionary(name, entry, { maxKeys: 6, noNullPrototype: true }), (tensors) => {
        const { tensors: read, metadata } = parseSafetensors(file(tensors, { format: 'weft' }))
        expect(metadata).toEqual({ format: 'weft' })
        expect(Object.keys(read)).toEqual(Object.keys(tensors))
        for (const [key, value] of Object.entries(tensors)) {
          expect(read[key]!.dtype).toBe(value.dtype)
          expect(read[key]!.shape).toEqual(value.shape)
          expect(Buffer.from(read[key]!.bytes)).toEqual(Buffer.from(value.bytes))
        }
      }),
    )
  })

  it('lays bytes out as the format says', () => {
    const bytes = new Uint8Array(new Float32Array([1, 2]).buffer)
    const written = file({ w: { dtype: 'f32', shape: [2], bytes } })
    const headerBytes = Number(new DataView(written.buffer).getBigUint64(0, true))
    expect(headerBytes % 8).toBe(0)
    expect(JSON.parse(Buffer.from(written.subarray(8, 8 + headerBytes)).toString())).toEqual({
      w: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
    })
    expect(written.subarray(8 + headerBytes)).toEqual(bytes)
  })

  it('refuses bytes that do not fit the shape', () => {
    const bad = { w: { dtype: 'f32' as const, shape: [3], bytes: new Uint8Array(8) } }
    expect(() => safetensorsPieces(bad)).toThrow(CheckpointError)
  })

  it('refuses damaged files', () => {
    const good = file({ w: { dtype: 'f32', shape: [2], bytes: new Uint8Array(8) } })
    for (const bad of [
      new Uint8Array(3),
      good.subarray(0, good.byteLength - 1),
      good.subarray(0, 12),
      new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7b]),
      new Uint8Array(
        Buffer.from(Buffer.from(good).toString('latin1').replace('F32', 'F99'), 'latin1'),
      ),
    ]) {
      expect(() => parseSafetensors(bad)).toThrow(CheckpointError)
    }
  })
})

describe('writeAtomically', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'weft-atomic-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('makes folders, replaces the old file and leaves nothing else', async () => {
    const path = join(folder, 'deep', 'file.txt')
    expect(await writeAtomically(path, ['one'])).toBe(3)
    await writeAtomically(path, [Buffer.from('tw'), 'o'])
    expect(readFileSync(path, 'utf8')).toBe('two')
    expect(readdirSync(join(folder, 'deep'))).toEqual(['file.txt'])
  })

  it('keeps the old file when the new one fails half-way', async () => {
    const path = join(folder, 'file.txt')
    await writeAtomically(path, ['old'])
    const failing = function* () {
      yield 'half'
      throw new Error('disk gone')
    }
    await expect(writeAtomically(path, failing())).rejects.toThrow('disk gone')
    expect(readFileSync(path, 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['file.txt'])
  })
})
