// The safetensors file format: 8 bytes of header length (little-endian), a JSON header, then the raw
// elements of every tensor, back to back. Pure: it turns entries into pieces of a file and bytes into
// entries. The trainer writes final weights with it.
import { CheckpointError } from '../native/errors.js'
import { bytesPerElement, type DType } from '../tensor/dtype.js'

/** One tensor of a file: contiguous elements in row-major order. */
export interface SafetensorsEntry {
  dtype: DType
  shape: readonly number[]
  bytes: Uint8Array
}

/** A file read back. */
export interface SafetensorsFile {
  tensors: Record<string, SafetensorsEntry>
  metadata: Record<string, string>
}

const names: Record<DType, string> = {
  f32: 'F32',
  f64: 'F64',
  f16: 'F16',
  bf16: 'BF16',
  i64: 'I64',
  i32: 'I32',
  u8: 'U8',
  bool: 'BOOL',
}
const dtypes = new Map(Object.entries(names).map(([dtype, name]) => [name, dtype as DType]))
const alignment = 8

interface HeaderEntry {
  dtype: string
  shape: number[]
  data_offsets: [number, number]
}

function byteLength(dtype: DType, shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, bytesPerElement(dtype))
}

/** The pieces of a safetensors file in order. Tensors are laid out as `tensors` lists them. */
export function safetensorsPieces(
  tensors: Record<string, SafetensorsEntry>,
  metadata: Record<string, string> = {},
): Uint8Array[] {
  const header: Record<string, HeaderEntry | Record<string, string>> = {}
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata
  let offset = 0
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    const expected = byteLength(dtype, shape)
    if (bytes.byteLength !== expected) {
      throw new CheckpointError(
        `${name}: ${dtype} [${shape.join(', ')}] needs ${expected} bytes, not ${bytes.byteLength}`,
        { tensor: name },
      )
    }
    header[name] = {
      dtype: names[dtype],
      shape: [...shape],
      data_offsets: [offset, offset + expected],
    }
    offset += expected
  }
  const json = Buffer.from(JSON.stringify(header))
  const padded = Math.ceil(json.byteLength / alignment) * alignment
  const head = Buffer.alloc(8 + padded, ' ')
  head.writeBigUInt64LE(BigInt(padded))
  json.copy(head, 8)
  return [head, ...Object.values(tensors).map((entry) => entry.bytes)]
}

/** Reads a whole safetensors file; entries are views of `file`. Throws CheckpointError when damaged. */
export function parseSafetensors(file: Uint8Array): SafetensorsFile {
  if (file.byteLength < 8) throw new CheckpointError('not a safetensors file: shorter than 8 bytes')
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const headerBytes = Number(view.getBigUint64(0, true))
  if (headerBytes > file.byteLength - 8) {
    throw new CheckpointError(
      `damaged safetensors file: its header needs ${headerBytes} bytes of ${file.byteLength - 8}`,
    )
  }
  const data = file.subarray(8 + headerBytes)
  const { __metadata__: metadata = {}, ...header } = parseHeader(file.subarray(8, 8 + headerBytes))
  const tensors: [string, SafetensorsEntry][] = []
  const spans: Span[] = []
  for (const [name, value] of Object.entries(header)) {
    const { entry, span } = readEntry(name, value, data)
    tensors.push([name, entry])
    spans.push(span)
  }
  requireWhole(spans, data.byteLength)
  return { tensors: Object.fromEntries(tensors), metadata: readMetadata(metadata) }
}

/** Where a tensor's bytes lie. */
interface Span {
  name: string
  start: number
  end: number
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Is it a list of whole numbers from 0 on? */
const areCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && each >= 0)

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  try {
    const header: unknown = JSON.parse(new TextDecoder().decode(bytes))
    if (isObject(header)) return header
  } catch {}
  throw new CheckpointError('damaged safetensors file: its header is not a JSON object')
}

function readMetadata(value: unknown): Record<string, string> {
  if (isObject(value) && Object.values(value).every((each) => typeof each === 'string')) {
    return value as Record<string, string>
  }
  throw new CheckpointError('damaged safetensors file: __metadata__ is not an object of texts')
}

function readEntry(name: string, value: unknown, data: Uint8Array) {
  const fail = (text: string): never => {
    throw new CheckpointError(`damaged safetensors file: ${name}: ${text}`, { tensor: name })
  }
  if (!isObject(value)) return fail('its entry is not an object')
  const { dtype: dtypeName, shape, data_offsets: offsets } = value
  const dtype = dtypes.get(dtypeName as string)
  if (!dtype) return fail(`unknown dtype ${dtypeName}`)
  if (!areCounts(shape) || !Number.isSafeInteger(byteLength(dtype, shape))) {
    return fail(`its shape ${JSON.stringify(shape)} is not a list of whole sizes`)
  }
  if (!areCounts(offsets) || offsets.length !== 2) {
    return fail(`its data_offsets ${JSON.stringify(offsets)} are not two whole numbers`)
  }
  const [start, end] = offsets as [number, number]
  const needed = byteLength(dtype, shape)
  if (end - start !== needed) {
    const of = `${dtype} [${shape.join(', ')}]`
    return fail(`${of} needs ${needed} bytes, its data_offsets hold ${end - start}`)
  }
  if (end > data.byteLength) {
    return fail(`its bytes end at ${end}, the file has ${data.byteLength}`)
  }
  const entry: SafetensorsEntry = { dtype, shape, bytes: data.subarray(start, end) }
  return { entry, span: { name, start, end } }
}

/** Every byte belongs to exactly one tensor, as the format has it. */
function requireWhole(spans: Span[], length: number): void {
  const ordered = spans.filter(({ start, end }) => end > start).sort((a, b) => a.start - b.start)
  let covered = 0
  let last = ''
  for (const { name, start, end } of [...ordered, { name: '', start: length, end: length }]) {
    if (start > covered) {
      throw new CheckpointError(
        `damaged safetensors file: bytes ${covered} to ${start} belong to no tensor`,
      )
    }
    if (start < covered) {
      throw new CheckpointError(
        `damaged safetensors file: ${name}: its bytes ${start} to ${end} overlap those of ${last}`,
        { tensor: name, other: last },
      )
    }
    covered = end
    last = name
  }
}
