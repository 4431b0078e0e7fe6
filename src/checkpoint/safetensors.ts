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
  const header = parseHeader(file.subarray(8, 8 + headerBytes))
  const metadata = (header.__metadata__ ?? {}) as Record<string, string>
  delete header.__metadata__
  const tensors = Object.entries(header).map(([name, entry]) => [
    name,
    readEntry(name, entry as HeaderEntry, data),
  ])
  return { tensors: Object.fromEntries(tensors) as SafetensorsFile['tensors'], metadata }
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  try {
    const header: unknown = JSON.parse(new TextDecoder().decode(bytes))
    if (typeof header === 'object' && header !== null) return header as Record<string, unknown>
  } catch {}
  throw new CheckpointError('damaged safetensors file: its header is not a JSON object')
}

function readEntry(name: string, entry: HeaderEntry, data: Uint8Array): SafetensorsEntry {
  const dtype = dtypes.get(entry?.dtype)
  if (!dtype) {
    throw new CheckpointError(`${name}: unknown dtype ${entry?.dtype}`, { tensor: name })
  }
  const [start, end] = entry.data_offsets ?? []
  if (
    !Array.isArray(entry.shape) ||
    start === undefined ||
    end === undefined ||
    end - start !== byteLength(dtype, entry.shape) ||
    start < 0 ||
    end > data.byteLength
  ) {
    throw new CheckpointError(`${name}: its bytes do not fit its shape or the file`, {
      tensor: name,
    })
  }
  return { dtype, shape: entry.shape, bytes: data.subarray(start, end) }
}
