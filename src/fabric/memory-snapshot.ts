// Decodes the packed allocator snapshot of native/binding/fabric/memory.cc. Pure.
import { CheckpointError } from '../native/errors.js'
import { type AddedOperators, operatorName } from './event-kinds.js'

/** One block of a segment. */
export interface MemoryBlock {
  address: number
  bytes: number
  /** What the caller asked for. */
  requested: number
  state: 'free' | 'live' | 'pending'
  /** Id of the stream that owns it. */
  stream: number
  /** Operator that allocated it. */
  operator: string | undefined
  ageNs: number
}

/** One piece of memory from the driver. */
export interface MemorySegment {
  address: number
  bytes: number
  /** 0 shared; others belong to captured graphs. */
  pool: number
  blocks: MemoryBlock[]
}

const magic = 0x534d4657
const version = 1
const states = ['free', 'live', 'pending'] as const

/** Segments and blocks; throws CheckpointError for other data. */
export function decodeMemorySnapshot(buffer: ArrayBuffer, added?: AddedOperators): MemorySegment[] {
  const data = new DataView(buffer)
  if (data.byteLength < 16 || data.getUint32(0, true) !== magic) {
    throw new CheckpointError('this is not a memory snapshot')
  }
  const found = data.getUint32(4, true)
  if (found !== version)
    throw new CheckpointError(`memory snapshot version ${found}, expected ${version}`)
  const segmentCount = data.getUint32(8, true)
  const blocksAt = 16 + segmentCount * 32
  const u64 = (at: number) => data.getUint32(at, true) + data.getUint32(at + 4, true) * 2 ** 32
  const block = (at: number): MemoryBlock => ({
    address: u64(at),
    bytes: u64(at + 8),
    requested: u64(at + 16),
    ageNs: u64(at + 24),
    operator: operatorName(data.getUint32(at + 32, true) - 1, added),
    stream: data.getUint16(at + 36, true),
    state: states[data.getUint8(at + 38)] ?? 'free',
  })
  return Array.from({ length: segmentCount }, (_, i) => {
    const at = 16 + i * 32
    const first = data.getUint32(at + 20, true)
    const count = data.getUint32(at + 24, true)
    return {
      address: u64(at),
      bytes: u64(at + 8),
      pool: data.getUint32(at + 16, true),
      blocks: Array.from({ length: count }, (_, k) => block(blocksAt + (first + k) * 40)),
    }
  })
}
