// Writes whole files or none: a temporary file beside the target, fsync, rename, fsync of the folder.
// Used by the run directory (config, snapshot), weight files and checkpoints; nothing here knows a format.
import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Node refuses writes of 2 GiB. */
const MOST_BYTES_A_CALL = 2 ** 30

/** What {@link writeAtomically} accepts: the pieces of the file in order. */
export type FilePieces = Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>

async function writeAll(file: FileHandle, pieces: FilePieces): Promise<number> {
  let written = 0
  for await (const piece of pieces) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece
    let offset = 0
    while (offset < bytes.byteLength) {
      const piece = Math.min(bytes.byteLength - offset, MOST_BYTES_A_CALL)
      const { bytesWritten } = await file.write(bytes, offset, piece)
      offset += bytesWritten
    }
    written += offset
  }
  return written
}

/** Makes a rename in `folder` survive a power cut; folders that cannot be synced are left alone. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'EISDIR' && code !== 'EINVAL' && code !== 'EPERM') throw error
  }
}

/**
 * Writes `pieces` to `path` so that a reader sees the old file or the new one, never a part of it.
 * The folder is made when it is missing. Returns the bytes written.
 */
export async function writeAtomically(path: string, pieces: FilePieces): Promise<number> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true })
  const temporary = join(
    folder,
    `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`,
  )
  try {
    const file = await open(temporary, 'wx')
    let written = 0
    try {
      written = await writeAll(file, pieces)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    await syncFolder(folder)
    return written
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** Writes `value` as indented JSON with a closing newline, whole or not at all. */
export async function writeJsonAtomically(path: string, value: unknown): Promise<void> {
  await writeAtomically(path, [`${JSON.stringify(value, null, 2)}\n`])
}
