// The safetensors file format: 8 bytes of header length (little-endian), a JSON header, then the raw
// elements of every tensor, back to back. Pure: layouts to header bytes and back. safetensors-file.ts reads
// and writes files with it, the trainer its weights and checkpoints.
import { CheckpointError } from '../native/errors.js'
import { bytesPerElement, type DType } from '../tensor/dtype.js'
import { duplicateName } from './duplicate-names.js'

/** What a tensor of a file is. */
export interface TensorSpec {
  dtype: DType
  shape: readonly number[]
}

/** One tensor of a file: contiguous elements in row-major order. */
export interface SafetensorsEntry extends TensorSpec {
  bytes: Uint8Array
}

/** Where a tensor's elements lie: bytes `start` to `end` of the data behind the header. */
export interface TensorRange extends TensorSpec {
  start: number
  end: number
}

/** A header read back. */
export interface SafetensorsHeader {
  tensors: Map<string, TensorRange>
  metadata: Record<string, string>
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

/** A longer header is refused, as by the format's reference reader. */
export const MOST_HEADER_BYTES = 100_000_000

/** Bytes of a tensor's elements. */
export function byteLength({ dtype, shape }: TensorSpec): number {
  return shape.reduce((count, size) => count * size, bytesPerElement(dtype))
}

/** Length and header of a file whose tensors lie as `tensors` lists them: what stands before the elements. */
export function safetensorsHead(
  tensors: Iterable<readonly [string, TensorSpec]>,
  metadata: Record<string, string> = {},
): Uint8Array {
  const header: [string, unknown][] = []
  if (Object.keys(metadata).length > 0) header.push(['__metadata__', metadata])
  let offset = 0
  for (const [name, { dtype, shape }] of tensors) {
    if (name === '__metadata__') {
      throw new CheckpointError('a tensor cannot be named __metadata__ in a safetensors file')
    }
    const end = offset + byteLength({ dtype, shape })
    header.push([name, { dtype: names[dtype], shape: [...shape], data_offsets: [offset, end] }])
    offset = end
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)))
  const padded = Math.ceil(json.byteLength / alignment) * alignment
  const head = Buffer.alloc(8 + padded, ' ')
  head.writeBigUInt64LE(BigInt(padded))
  json.copy(head, 8)
  return head
}

/** The pieces of a safetensors file in order. Tensors are laid out as `tensors` lists them. */
export function safetensorsPieces(
  tensors: Record<string, SafetensorsEntry>,
  metadata: Record<string, string> = {},
): Uint8Array[] {
  for (const [name, entry] of Object.entries(tensors)) requireLength(name, entry)
  const head = safetensorsHead(Object.entries(tensors), metadata)
  return [head, ...Object.values(tensors).map((entry) => entry.bytes)]
}

/** Throws CheckpointError unless the bytes are as many as dtype and shape need. */
export function requireLength(name: string, { dtype, shape, bytes }: SafetensorsEntry): void {
  const expected = byteLength({ dtype, shape })
  if (bytes.byteLength === expected) return
  throw new CheckpointError(
    `${name}: ${dtype} [${shape.join(', ')}] needs ${expected} bytes, not ${bytes.byteLength}`,
    { tensor: name },
  )
}

/** Bytes of the header, as the first 8 bytes of a file of `fileBytes` tell. Throws CheckpointError when they cannot. */
export function headerLength(first: Uint8Array, fileBytes: number): number {
  if (fileBytes < 8) throw damaged('shorter than 8 bytes')
  const view = new DataView(first.buffer, first.byteOffset, first.byteLength)
  const length = view.getBigUint64(0, true)
  const most = Math.min(fileBytes - 8, MOST_HEADER_BYTES)
  if (length > BigInt(most)) {
    throw damaged(`its header needs ${length} bytes, ${most} can be`)
  }
  return Number(length)
}

/** Reads a header; every one of the `dataBytes` behind it must belong to one tensor. Throws CheckpointError. */
export function parseHeader(json: Uint8Array, dataBytes: number): SafetensorsHeader {
  const { metadata = {}, entries } = readJson(json)
  const tensors = new Map(
    entries.map(([name, value]) => [name, readRange(name, value, dataBytes)] as const),
  )
  requireWhole(tensors, dataBytes)
  return { tensors, metadata: readMetadata(metadata) }
}

/** Reads a whole safetensors file; entries are views of `file`. Throws CheckpointError when damaged. */
export function parseSafetensors(file: Uint8Array): SafetensorsFile {
  const data = 8 + headerLength(file, file.byteLength)
  const { tensors, metadata } = parseHeader(file.subarray(8, data), file.byteLength - data)
  const read = Array.from(
    tensors,
    ([name, { dtype, shape, start, end }]): [string, SafetensorsEntry] => [
      name,
      { dtype, shape, bytes: file.subarray(data + start, data + end) },
    ],
  )
  return { tensors: Object.fromEntries(read), metadata }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Is it a list of whole numbers from 0 on? */
const areCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && each >= 0)

function damaged(text: string, tensor?: string, more: object = {}): CheckpointError {
  const fields = tensor === undefined ? {} : { tensor, ...more }
  const where = tensor === undefined ? '' : `${tensor}: `
  return new CheckpointError(`damaged safetensors file: ${where}${text}`, fields)
}

function readJson(bytes: Uint8Array): { metadata?: unknown; entries: [string, unknown][] } {
  let text: string
  let header: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    header = JSON.parse(text)
  } catch {
    throw damaged('its header is not a JSON object')
  }
  if (!isObject(header)) throw damaged('its header is not a JSON object')
  const twice = duplicateName(text)
  if (twice !== undefined) throw damaged('its header has this name twice', twice)
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__')
  return Object.hasOwn(header, '__metadata__')
    ? { metadata: header.__metadata__, entries }
    : { entries }
}

function readMetadata(value: unknown): Record<string, string> {
  if (isObject(value) && Object.values(value).every((each) => typeof each === 'string')) {
    return value as Record<string, string>
  }
  throw damaged('__metadata__ is not an object of texts')
}

function readRange(name: string, value: unknown, dataBytes: number): TensorRange {
  if (!isObject(value)) throw damaged('its entry is not an object', name)
  const { dtype: dtypeName, shape, data_offsets: offsets } = value
  const dtype = dtypes.get(dtypeName as string)
  if (!dtype) throw damaged(`unknown dtype ${dtypeName}`, name)
  if (!areCounts(shape) || !Number.isSafeInteger(byteLength({ dtype, shape }))) {
    throw damaged(`its shape ${JSON.stringify(shape)} is not a list of whole sizes`, name)
  }
  if (!areCounts(offsets) || offsets.length !== 2) {
    throw damaged(`its data_offsets ${JSON.stringify(offsets)} are not two whole numbers`, name)
  }
  const [start, end] = offsets as [number, number]
  const needed = byteLength({ dtype, shape })
  if (end - start !== needed) {
    const of = `${dtype} [${shape.join(', ')}]`
    throw damaged(`${of} needs ${needed} bytes, its data_offsets hold ${end - start}`, name)
  }
  if (end > dataBytes) throw damaged(`its bytes end at ${end}, the file has ${dataBytes}`, name)
  return { dtype, shape, start, end }
}

/** Every byte belongs to exactly one tensor, as the format has it. */
function requireWhole(tensors: Map<string, TensorRange>, length: number): void {
  const ordered = Array.from(tensors, ([name, { start, end }]) => ({ name, start, end }))
    .filter(({ start, end }) => end > start)
    .sort((a, b) => a.start - b.start)
  let covered = 0
  let last = ''
  for (const { name, start, end } of [...ordered, { name: '', start: length, end: length }]) {
    if (start > covered) throw damaged(`bytes ${covered} to ${start} belong to no tensor`)
    if (start < covered) {
      throw damaged(`its bytes ${start} to ${end} overlap those of ${last}`, name, { other: last })
    }
    covered = end
    last = name
  }
}
