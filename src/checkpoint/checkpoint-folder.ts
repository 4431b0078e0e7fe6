// The checkpoints of a run: one folder a checkpoint, `step-00000050`, with weights, optimizer state and, once it is
// whole, a manifest. Finds them, checks them, and takes old ones away. The trainer's coordinator calls this, and the
// thread that writes their files.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { CheckpointError } from '../native/errors.js'
import { type FileDigest, MANIFEST, type Manifest, readManifest } from './manifest.js'

/** A whole checkpoint. */
export interface Checkpoint {
  /** Its folder. */
  path: string
  manifest: Manifest
}

/** What a look at a run's checkpoints found. */
export interface Found {
  /** The newest whole one. */
  checkpoint: Checkpoint | undefined
  /** Why newer ones were left alone, one sentence each. */
  ignored: string[]
}

const pattern = /^step-(\d{8,})$/

/** 50 → 'step-00000050'. */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(8, '0')}`
}

/** Could this be a checkpoint's folder, by its name? */
export function isCheckpointName(path: string): boolean {
  return pattern.test(basename(path))
}

/** Folders of checkpoints, whole or not, newest first. */
async function candidates(folder: string): Promise<{ step: number; path: string }[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  return names
    .flatMap((name) => {
      const match = pattern.exec(name)
      return match ? [{ step: Number(match[1]), path: join(folder, name) }] : []
    })
    .sort((a, b) => b.step - a.step)
}

async function digestOf(path: string): Promise<FileDigest> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(piece as Buffer)
    bytes += (piece as Buffer).byteLength
  }
  return { bytes, sha256: hash.digest('hex') }
}

/** A whole checkpoint. Throws CheckpointError where the manifest or a file is missing or is not what was written. */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const manifest = await readManifest(path)
  for (const [name, expected] of Object.entries(manifest.files)) {
    const file = join(path, name)
    const size = await stat(file).then(
      ({ size }) => size,
      () => undefined,
    )
    if (size === undefined) throw new CheckpointError(`${file} is missing`, { path })
    const found = size === expected.bytes ? await digestOf(file) : { bytes: size, sha256: '' }
    if (found.bytes !== expected.bytes || found.sha256 !== expected.sha256) {
      throw new CheckpointError(`${file} is damaged: its checksum does not match ${MANIFEST}`, {
        path,
      })
    }
  }
  return { path, manifest }
}

/** The newest whole checkpoint in `folder`; those that are torn or damaged are passed by and told. */
export async function newestCheckpoint(folder: string): Promise<Found> {
  const ignored: string[] = []
  for (const { path } of await candidates(folder)) {
    try {
      return { checkpoint: await openCheckpoint(path), ignored }
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error
      ignored.push(error.message)
    }
  }
  return { checkpoint: undefined, ignored }
}

/** An empty folder for a checkpoint; one that is there goes. */
export async function makeCheckpointFolder(path: string): Promise<void> {
  await removeCheckpoint(path)
  await mkdir(path, { recursive: true })
}

/** Removes a checkpoint, its manifest first: what is left after a kill in the middle is not taken for a whole one. */
export async function removeCheckpoint(path: string): Promise<void> {
  await rm(join(path, MANIFEST), { force: true })
  await rm(path, { recursive: true, force: true })
}

/**
 * Removes all up to step `upTo`, the newest of the run, but the `keep` newest whole checkpoints and the one at step
 * `best`. What lies behind that step, damaged ones that a resumed run passed by, counts for nothing.
 */
export async function pruneCheckpoints(
  folder: string,
  { keep, best, upTo }: { keep: number; best: number | undefined; upTo: number },
): Promise<void> {
  let whole = 0
  for (const { step, path } of await candidates(folder)) {
    if (step === best || step > upTo) continue
    const complete = await stat(join(path, MANIFEST)).then(
      () => true,
      () => false,
    )
    if (complete && whole < keep) whole++
    else if (whole >= keep) await removeCheckpoint(path)
  }
}

/** The step of the best checkpoint up to step `upTo` by a metric, with its value; undefined when none has it. */
export async function bestCheckpoint(
  folder: string,
  better: (value: number, than: number) => boolean,
  metric: string,
  upTo: number,
): Promise<{ step: number; value: number } | undefined> {
  let best: { step: number; value: number } | undefined
  for (const { step, path } of (await candidates(folder)).reverse()) {
    if (step > upTo) continue
    const manifest = await readManifest(path).catch(() => undefined)
    const value = manifest?.metrics?.[metric]
    if (value !== undefined && (best === undefined || better(value, best.value)))
      best = { step, value }
  }
  return best
}
