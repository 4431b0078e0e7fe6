// Safetensors files on disk, by range: the header first, then only the bytes that are asked for, one tensor at a
// time. tensor-files.ts makes tensors of them, checkpoints hash and compare them.
import { type FileHandle, open } from 'node:fs/promises'
import { CheckpointError } from '../native/errors.js'
import { type FilePieces, writeAtomically } from './atomic-write.js'
import {
  headerLength,
  parseHeader,
  requireLength,
  type SafetensorsEntry,
  type SafetensorsHeader,
  safetensorsHead,
  type TensorRange,
  type TensorSpec,
} from './safetensors.js'

/** Node refuses reads of 2 GiB. */
const MOST_BYTES_A_CALL = 2 ** 30

/** A file that was opened for reading; its header has been checked against its size. */
export class SafetensorsReader {
  readonly path: string
  readonly header: SafetensorsHeader
  readonly #file: FileHandle
  readonly #data: number

  private constructor(path: string, file: FileHandle, header: SafetensorsHeader, data: number) {
    this.path = path
    this.header = header
    this.#file = file
    this.#data = data
  }

  /** Throws CheckpointError naming the file where it is missing or damaged. */
  static async open(path: string): Promise<SafetensorsReader> {
    const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
      const what = error.code === 'ENOENT' ? 'there is no such file' : error.message
      throw new CheckpointError(`${path}: ${what}`, { path })
    })
    try {
      const size = (await file.stat()).size
      const first = await readRange(file, 0, Math.min(8, size))
      const length = headerLength(first, size)
      const header = parseHeader(await readRange(file, 8, length), size - 8 - length)
      return new SafetensorsReader(path, file, header, 8 + length)
    } catch (error) {
      await file.close()
      throw inFile(path, error)
    }
  }

  /** The elements of one tensor. Throws CheckpointError where the file has none of that name. */
  async read(name: string): Promise<SafetensorsEntry> {
    const { dtype, shape, start, end } = this.#range(name)
    try {
      return { dtype, shape, bytes: await readRange(this.#file, this.#data + start, end - start) }
    } catch (error) {
      throw inFile(this.path, error)
    }
  }

  #range(name: string): TensorRange {
    const range = this.header.tensors.get(name)
    if (range !== undefined) return range
    throw new CheckpointError(`${this.path} has no tensor ${name}`, {
      path: this.path,
      missing: [name],
    })
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

async function readRange(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const piece = Math.min(length - done, MOST_BYTES_A_CALL)
    const { bytesRead } = await file.read(bytes, done, piece, position + done)
    if (bytesRead === 0) throw new CheckpointError('the file ended while it was read')
    done += bytesRead
  }
  return bytes
}

/** The error with the file's name; what the system says of it is a CheckpointError too. */
function inFile(path: string, error: unknown): CheckpointError {
  const fields = error instanceof CheckpointError ? error.fields : {}
  const message = error instanceof Error ? error.message : String(error)
  return new CheckpointError(`${path}: ${message}`, { path, ...fields })
}

/** One tensor to be written: what it is, and its elements when they are due. */
export interface TensorSource extends TensorSpec {
  bytes: () => Promise<Uint8Array>
}

/** Writes a file whole or not at all, holding the elements of one tensor at a time. Returns its bytes. */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorSource>,
  metadata: Record<string, string> = {},
): Promise<number> {
  return writeAtomically(path, pieces(tensors, metadata))
}

async function* pieces(
  tensors: ReadonlyMap<string, TensorSource>,
  metadata: Record<string, string>,
): FilePieces & AsyncGenerator<Uint8Array> {
  yield safetensorsHead(tensors, metadata)
  for (const [name, source] of tensors) {
    const entry = { dtype: source.dtype, shape: source.shape, bytes: await source.bytes() }
    requireLength(name, entry)
    yield entry.bytes
  }
}
