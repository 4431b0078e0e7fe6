// The thread that writes a checkpoint's files: takes tensors' bytes from rank 0's worker, writes and hashes them, so
// that neither happens on the thread that enqueues steps. snapshot.ts starts it and talks to it. A folder that it
// writes into counts for nothing until the coordinator has put the manifest there.
import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { parentPort } from 'node:worker_threads'
import { makeCheckpointFolder } from '../../checkpoint/checkpoint-folder.js'
import type { FileDigest } from '../../checkpoint/manifest.js'

/** What the thread is asked for; it answers each in order. */
export type WriterRequest =
  | { kind: 'folder'; path: string }
  | { kind: 'open'; path: string }
  | { kind: 'write'; bytes: Uint8Array }
  | { kind: 'close' }

/** `digest` answers a close. */
export type WriterReply = { ok: true; digest?: FileDigest } | { ok: false; message: string }

const MOST_BYTES_A_CALL = 2 ** 26

let file: FileHandle | undefined
let hash = createHash('sha256')
let written = 0

async function handle(request: WriterRequest): Promise<FileDigest | undefined> {
  if (request.kind === 'folder') {
    await makeCheckpointFolder(request.path)
    return undefined
  }
  if (request.kind === 'open') {
    await file?.close() // of a checkpoint that failed
    file = undefined
    file = await open(request.path, 'w')
    hash = createHash('sha256')
    written = 0
    return undefined
  }
  if (request.kind === 'write') {
    await write(request.bytes)
    return undefined
  }
  await file?.sync()
  await file?.close()
  file = undefined
  return { bytes: written, sha256: hash.digest('hex') }
}

async function write(bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    const piece = bytes.subarray(at, at + MOST_BYTES_A_CALL)
    const { bytesWritten } = await file!.write(piece)
    hash.update(piece.subarray(0, bytesWritten))
    at += bytesWritten
    written += bytesWritten
  }
}

let queue: Promise<void> = Promise.resolve()
parentPort?.on('message', (request: WriterRequest) => {
  queue = queue.then(async () => {
    let reply: WriterReply
    try {
      const digest = await handle(request)
      reply = digest === undefined ? { ok: true } : { ok: true, digest }
    } catch (error) {
      reply = { ok: false, message: error instanceof Error ? error.message : String(error) }
    }
    parentPort?.postMessage(reply)
  })
})
