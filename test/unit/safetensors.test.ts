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

  /** A file with that header, and `bytes` of data. */
  const made = (header: unknown, bytes = 8) => {
    const json = Buffer.from(JSON.stringify(header))
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(json.byteLength))
    return new Uint8Array(Buffer.concat([length, json, Buffer.alloc(bytes)]))
  }
  /** A file with that header text. */
  const text = (header: string, bytes = 0) => {
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)))
    return new Uint8Array(Buffer.concat([length, Buffer.from(header), Buffer.alloc(bytes)]))
  }
  const claims = (headerBytes: bigint) => {
    const file = new Uint8Array(1024)
    new DataView(file.buffer).setBigUint64(0, headerBytes, true)
    return file
  }
  const w = '"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
  const one = (parts: object) =>
    made({ w: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...parts } })

  it.each<[string, Uint8Array, RegExp]>([
    ['an entry that is a number', made({ w: 5 }), /w: .*not an object/],
    ['an entry that is null', made({ w: null }), /w: .*not an object/],
    ['a dtype that is no text', one({ dtype: 32 }), /w: unknown dtype 32/],
    ['a shape that is no list', one({ shape: 2 }), /w: its shape/],
    ['a negative size', one({ shape: [-2] }), /w: its shape/],
    ['sizes whose signs cancel', one({ shape: [-1, -2] }), /w: its shape/],
    ['a fractional size', one({ shape: [0.5, 4] }), /w: its shape/],
    ['a size that is text', one({ shape: ['2'] }), /w: its shape/],
    ['a size beyond whole numbers', one({ shape: [2 ** 60] }), /w: its shape/],
    ['offsets that are a number', one({ data_offsets: 8 }), /w: its data_offsets/],
    ['one offset', one({ data_offsets: [8] }), /w: its data_offsets/],
    ['three offsets', one({ data_offsets: [0, 8, 8] }), /w: its data_offsets/],
    ['negative offsets', one({ data_offsets: [-8, 0] }), /w: its data_offsets/],
    ['fractional offsets', one({ data_offsets: [0.5, 8.5] }), /w: its data_offsets/],
    ['offsets that are text', one({ data_offsets: ['0', '8'] }), /w: its data_offsets/],
    ['offsets behind the end', one({ data_offsets: [8, 16] }), /w: .*16.*has 8/],
    ['bytes that do not fit the shape', one({ shape: [1] }), /w: .*needs 4 bytes.*8/],
    [
      'tensors that overlap',
      made({
        a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
        b: { dtype: 'F32', shape: [1], data_offsets: [4, 8] },
      }),
      /b: its bytes 4 to 8 .*overlap.*a/,
    ],
    [
      'bytes of no tensor',
      made({ a: { dtype: 'F32', shape: [1], data_offsets: [4, 8] } }),
      /bytes 0 to 4 belong to no tensor/,
    ],
    ['bytes of no tensor at the end', made({}), /bytes 0 to 8 belong to no tensor/],
    ['a header that is a list', made([], 0), /not a JSON object/],
    ['a header longer than the file', claims(2n ** 63n), /header needs 9223372036854775808 bytes/],
    ['a header one byte too long', claims(1017n), /header needs 1017 bytes, 1016 can be/],
    ['a name that stands twice', text(`{${w},${w}}`, 8), /w: .*twice/],
    ['a name twice, once escaped', text(`{${w},${w.replace('w', '\\u0077')}}`, 8), /w: .*twice/],
    ['a key that stands twice', text(`{${w.replace('{', '{"shape":[4],')}}`, 8), /shape: .*twice/],
    ['a header that is no UTF-8', text('{}').fill(0xff, 8), /not a JSON object/],
    ['metadata that is no text', made({ __metadata__: { step: 3 } }, 0), /__metadata__/],
    ['metadata that is a list', made({ __metadata__: ['a'] }, 0), /__metadata__/],
  ])('refuses %s', (_name, bytes, pattern) => {
    expect(() => parseSafetensors(bytes)).toThrow(CheckpointError)
    expect(() => parseSafetensors(bytes)).toThrow(pattern)
  })

  it('has no trouble with names that objects know', () => {
    const bytes = new Uint8Array(4)
    const names = ['__proto__', 'constructor', 'toString', '0', 'a"b\\', '{', ' :']
    const tensors = Object.fromEntries(
      names.map((each) => [each, { dtype: 'f32' as const, shape: [1], bytes }]),
    )
    const read = parseSafetensors(file(tensors)).tensors
    expect(Object.keys(read).sort()).toEqual([...names].sort())
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype)
  })

  it('refuses a tensor with the name of the metadata', () => {
    const bad = { __metadata__: { dtype: 'f32' as const, shape: [], bytes: new Uint8Array(4) } }
    expect(() => safetensorsPieces(bad)).toThrow(/__metadata__/)
  })

  it('takes tensors in any order of bytes, and empty ones', () => {
    const { tensors } = parseSafetensors(
      made({
        late: { dtype: 'F32', shape: [1], data_offsets: [4, 8] },
        empty: { dtype: 'F32', shape: [0, 3], data_offsets: [4, 4] },
        early: { dtype: 'I32', shape: [], data_offsets: [0, 4] },
      }),
    )
    expect(Object.keys(tensors)).toEqual(['late', 'empty', 'early'])
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
