// Rank 0's side of a checkpoint: copies the state on the device, in stream order between two steps, then reads the
// copies on the copy stream and hands them to the writing thread while training goes on. replica.ts starts one
// snapshot at a time; the coordinator hears of its end with the reply to the next message.
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { noGrad } from '../../autograd/no-grad.js'
import { OPTIMIZER, WEIGHTS } from '../../checkpoint/manifest.js'
import { byteLength, safetensorsHead } from '../../checkpoint/safetensors.js'
import { type Stream, streamWait, withStream } from '../../fabric/stream.js'
import { CheckpointError, OutOfMemoryError } from '../../native/errors.js'
import { disposeAll, keep, scope } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { WriterReply, WriterRequest } from './file-writer.js'
import type { CheckpointRequest, SnapshotEnd } from './protocol.js'
import type { NamedBytes, NamedTensor } from './state.js'

/** A tensor that is to be saved, or what was read of one already. */
export type Saved = NamedTensor | NamedBytes

/** The files of a checkpoint, by name: the tensors of each. */
export type SnapshotFiles = Record<typeof WEIGHTS | typeof OPTIMIZER, Saved[]>

/** Of every device: computes, and copies to the host. */
const [COMPUTE, COPY_OUT] = [0, 3]

/**
 * What is read and written at a time. Small tensors go together, since a message for each would cost more than the
 * bytes; large ones in parts, since this thread, which launches the steps, also copies what was read into the
 * message: 2 ms for a piece, where 150 MB at once left the device without work.
 */
const PIECE_BYTES = 4 << 20

const specOf = (saved: Saved) => ('tensor' in saved ? saved.tensor : saved)

/** A tensor, or elements from `start` of one that is read in parts. */
interface Part {
  saved: Saved
  start: number
  elements?: number
}

/** The tensors in order, in pieces. */
function piecesOf(list: Saved[]): Part[][] {
  const pieces: Part[][] = []
  let room = 0
  for (const saved of list) {
    const bytes = byteLength(specOf(saved))
    if ('tensor' in saved && bytes > PIECE_BYTES) {
      const { numel } = saved.tensor
      const step = Math.floor((PIECE_BYTES * numel) / bytes)
      for (let start = 0; start < numel; start += step) {
        pieces.push([{ saved, start, elements: Math.min(step, numel - start) }])
      }
      room = 0
      continue
    }
    const last = pieces.at(-1)
    if (last !== undefined && bytes <= room) last.push({ saved, start: 0 })
    else {
      pieces.push([{ saved, start: 0 }])
      room = PIECE_BYTES
    }
    room -= bytes
  }
  return pieces
}

async function read({ saved, start, elements }: Part): Promise<Uint8Array> {
  if (!('tensor' in saved)) return saved.bytes
  if (elements === undefined) return new Uint8Array(await saved.tensor.bytes())
  const bytes = noGrad(() =>
    scope(() => ({ of: saved.tensor.reshape([-1]).narrow(0, start, elements).bytes() })),
  )
  return new Uint8Array(await bytes.of)
}

function joined(parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.byteLength
  }
  return out
}

function tensorsOf(files: SnapshotFiles): Tensor[] {
  const lists = Object.values(files).flat()
  return lists.flatMap((saved) => ('tensor' in saved ? [saved.tensor] : []))
}

/** Writes one snapshot at a time. */
export class SnapshotWriter {
  readonly #compute: Stream
  readonly #copies: Stream
  readonly #thread: Worker
  #busy: Promise<void> | undefined
  #ended: SnapshotEnd | undefined
  #gone: CheckpointError | undefined
  #answer: (reply: WriterReply | Error) => void = () => {}

  constructor(device: string) {
    this.#compute = { device, id: COMPUTE }
    this.#copies = { device, id: COPY_OUT }
    this.#thread = new Worker(new URL('./file-writer.js', import.meta.url))
    this.#thread.unref()
    this.#thread.on('message', (reply: WriterReply) => this.#answer(reply))
    this.#thread.on('error', (error) => this.#lost(error.message))
    this.#thread.on('exit', () => this.#lost('it ended'))
  }

  /**
   * Copies the tensors as they are after what was enqueued so far and begins to write them to `folder`, made empty. Where the
   * device has no memory for copies, the tensors themselves are read before this resolves, or, where it may not wait
   * so long, nothing is and it resolves to false. Never rejects for what the writing meets: that is in takeEnd().
   */
  async begin(request: CheckpointRequest, files: SnapshotFiles): Promise<boolean> {
    const { folder, metadata, mayWait } = request
    await this.#busy
    const started = performance.now()
    const copies = this.#copy(files)
    if (copies === undefined && !mayWait) return false
    const writing = this.#write(folder, copies ?? files, metadata)
      .then(
        (digests): SnapshotEnd => ({ folder, files: digests, seconds: 0 }),
        (error: Error): SnapshotEnd => ({ folder, failed: error.message, seconds: 0 }),
      )
      .then((end) => {
        this.#ended = { ...end, seconds: (performance.now() - started) / 1000 }
        if (copies) disposeAll(tensorsOf(copies))
        this.#busy = undefined
      })
    this.#busy = writing
    if (copies === undefined) await writing
    return true
  }

  /** How the last snapshot ended, once. */
  takeEnd(): SnapshotEnd | undefined {
    const ended = this.#ended
    this.#ended = undefined
    return ended
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.#busy
  }

  /** Ends the thread once what is being written has been. */
  async close(): Promise<void> {
    await this.#busy
    await this.#thread.terminate()
  }

  #lost(reason: string): void {
    this.#gone ??= new CheckpointError(`the thread that writes checkpoints is gone: ${reason}`)
    this.#answer(this.#gone)
  }

  /** Copies of all tensors, enqueued on the compute stream; undefined where there is no memory for them. */
  #copy(files: SnapshotFiles): SnapshotFiles | undefined {
    const made: Tensor[] = []
    const copyOf = (saved: Saved): Saved => {
      if (!('tensor' in saved)) return saved
      const copy = keep(noGrad(() => saved.tensor.clone()))
      made.push(copy)
      return { name: saved.name, tensor: copy }
    }
    try {
      return { [WEIGHTS]: files[WEIGHTS].map(copyOf), [OPTIMIZER]: files[OPTIMIZER].map(copyOf) }
    } catch (error) {
      disposeAll(made)
      if (error instanceof OutOfMemoryError) return undefined
      throw error
    } finally {
      streamWait(this.#copies, this.#compute)
    }
  }

  async #write(folder: string, files: SnapshotFiles, metadata: Record<string, string>) {
    await this.#ask({ kind: 'folder', path: folder })
    return {
      [WEIGHTS]: await this.#writeFile(join(folder, WEIGHTS), files[WEIGHTS], metadata),
      [OPTIMIZER]: await this.#writeFile(join(folder, OPTIMIZER), files[OPTIMIZER], metadata),
    }
  }

  async #writeFile(path: string, list: Saved[], metadata: Record<string, string>) {
    await this.#ask({ kind: 'open', path })
    const specs = list.map((saved) => {
      const { dtype, shape } = specOf(saved)
      return [saved.name, { dtype, shape }]
    })
    const head = safetensorsHead(specs as Parameters<typeof safetensorsHead>[0], metadata)
    await this.#ask({ kind: 'write', bytes: head })
    for (const piece of piecesOf(list)) {
      const reading = withStream(this.#copies, () => piece.map(read))
      const parts = await Promise.all(reading)
      const bytes = parts.length === 1 ? parts[0]! : joined(parts)
      await this.#ask({ kind: 'write', bytes }, [bytes.buffer as ArrayBuffer])
    }
    const { digest } = await this.#ask({ kind: 'close' })
    return digest!
  }

  /** One request at a time: no more than one piece is in host memory. */
  #ask(request: WriterRequest, transfer: ArrayBuffer[] = []): Promise<WriterReply & { ok: true }> {
    return new Promise((resolve, reject) => {
      if (this.#gone) reject(this.#gone)
      this.#answer = (reply) => {
        if (reply instanceof Error) reject(reply)
        else if (reply.ok) resolve(reply)
        else reject(new CheckpointError(reply.message))
      }
      this.#thread.postMessage(request, transfer)
    })
  }
}
