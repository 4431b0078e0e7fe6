// Files of tokens, read by range: what language models train on. A file is little-endian u16 or u32 tokens and
// nothing else, as nanoGPT's prepare.py and llm.c's converters without header write it. Tasks open one and return
// its sequences from `data`; a process holds the batches made ahead and no more of it.
import { type FileHandle, open } from 'node:fs/promises'
import { UsageError } from '../native/errors.js'
import { type Loader, loader } from './loader.js'
import { randomStream, type SamplerOptions } from './sampler.js'

/** How data.tokenFile() reads a file. */
export interface TokenFileOptions {
  /** How a token lies in the file. Default 'u16'. */
  type?: 'u16' | 'u32'
  /** Tokens must be below it; one that is not is a UsageError that names its place. */
  vocabulary?: number
}

/** Which sequences TokenFile.sequences() makes for a rank and epoch. */
export interface SequenceOptions extends Omit<SamplerOptions, 'length'> {
  /** Tokens of a sequence. */
  length: number
  /** Sequences a batch. */
  batchSize: number
  /** Use only so many sequences from the start of the file. */
  most?: number
  /** Batches made ahead (default 2). */
  prefetch?: number
}

/** One batch: i32 (sequences, length); targets are the tokens one place later. */
export type SequenceBatch = Record<
  'tokens' | 'targets',
  { data: Int32Array; shape: [number, number] }
>

/** An open file of tokens. */
export class TokenFile {
  readonly path: string
  /** Tokens in the file. */
  readonly length: number
  readonly #file: FileHandle
  readonly #width: 2 | 4
  readonly #vocabulary: number

  /** @internal */
  constructor(path: string, file: FileHandle, length: number, options: TokenFileOptions) {
    this.path = path
    this.length = length
    this.#file = file
    this.#width = options.type === 'u32' ? 4 : 2
    this.#vocabulary = options.vocabulary ?? 2 ** 31
  }

  /** Tokens start … start + count - 1. Throws UsageError outside the file, and on a token outside the vocabulary. */
  async read(start: number, count: number): Promise<Int32Array> {
    const end = start + count
    if (!(Number.isSafeInteger(start) && start >= 0 && count >= 0 && end <= this.length)) {
      throw new UsageError(
        `${this.path} has tokens 0 to ${this.length - 1}, not ${start} to ${end - 1}`,
      )
    }
    const bytes = new Uint8Array(count * this.#width)
    let done = 0
    while (done < bytes.byteLength) {
      const left = bytes.byteLength - done
      const { bytesRead } = await this.#file.read(bytes, done, left, start * this.#width + done)
      if (bytesRead === 0) throw new UsageError(`${this.path} became shorter while it was read`)
      done += bytesRead
    }
    const raw = this.#width === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer)
    const wrong = raw.findIndex((token) => token >= this.#vocabulary)
    if (wrong >= 0) {
      throw new UsageError(
        `${this.path}: token ${start + wrong} is ${raw[wrong]}, the vocabulary has ${this.#vocabulary}`,
      )
    }
    return Int32Array.from(raw)
  }

  /**
   * Batches of sequences that follow each other in the file and share no target; for `split: 'train'` in an order of
   * the epoch's own, cut at another place in each epoch, full batches only. A task hands its request on:
   * `{ ...request, length: 1024 }`.
   */
  sequences(options: SequenceOptions): Loader<SequenceBatch> {
    const { length, most = Number.POSITIVE_INFINITY, ...rest } = options
    if (!Number.isSafeInteger(length) || length < 1) {
      throw new UsageError(`sequences: length must be a whole number from 1, it is ${length}`)
    }
    const whole = Math.floor((this.length - 1) / length)
    // One sequence less makes room to cut elsewhere in each epoch.
    const moved = options.split === 'train' && whole > 1
    const offset = moved ? randomStream(options.seed ?? 0, options.epoch ?? 0)() % length : 0
    const sequences = Math.min(most, moved ? whole - 1 : whole)
    if (sequences < 1) {
      throw new UsageError(`${this.path} has ${this.length} tokens: too few for one of ${length}`)
    }
    return loader({
      ...rest,
      length: sequences,
      collate: (indices) => this.#batch(indices, offset, length),
    })
  }

  /** Closes the file. Idempotent. */
  async close(): Promise<void> {
    await this.#file.close()
  }

  async #batch(indices: Uint32Array, offset: number, length: number): Promise<SequenceBatch> {
    const shape: [number, number] = [indices.length, length]
    const tokens = new Int32Array(indices.length * length)
    const targets = new Int32Array(indices.length * length)
    const rows = Array.from(indices, (i) => this.read(offset + i * length, length + 1))
    for (const [row, ids] of (await Promise.all(rows)).entries()) {
      tokens.set(ids.subarray(0, length), row * length)
      targets.set(ids.subarray(1), row * length)
    }
    return { tokens: { data: tokens, shape }, targets: { data: targets, shape } }
  }
}

/** Opens a file of tokens. Throws UsageError where it is not there or holds no whole number of tokens. */
export async function tokenFile(path: string, options: TokenFileOptions = {}): Promise<TokenFile> {
  const { type = 'u16', vocabulary = 1 } = options
  if (type !== 'u16' && type !== 'u32') {
    throw new UsageError(`tokenFile: type must be 'u16' or 'u32', it is ${JSON.stringify(type)}`)
  }
  if (!Number.isSafeInteger(vocabulary) || vocabulary < 1) {
    throw new UsageError(`tokenFile: vocabulary must be a whole number from 1, it is ${vocabulary}`)
  }
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (cause) {
    throw new UsageError(`the token file ${path} cannot be opened: ${(cause as Error).message}`, {
      path,
    })
  }
  const { size } = await file.stat()
  const width = type === 'u16' ? 2 : 4
  if (size > 0 && size % width === 0) return new TokenFile(path, file, size / width, options)
  await file.close()
  throw new UsageError(`${path} holds ${size} bytes: no whole number of ${type} tokens`, { path })
}
