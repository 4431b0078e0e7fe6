// checkpoint.json, the manifest of a checkpoint: what a run needs besides tensors, and the checksum of every file.
// It is written last, so a folder that has it is whole. Its own checksum makes a changed manifest a damaged one.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type * as Zod from 'zod'
import { CheckpointError } from '../native/errors.js'
import { writeJsonAtomically } from './atomic-write.js'
import { duplicateName } from './duplicate-names.js'

/** Name of the manifest in a checkpoint's folder. */
export const MANIFEST = 'checkpoint.json'
/** Parameters and buffers. */
export const WEIGHTS = 'weights.safetensors'
/** The optimizer's own tensors. */
export const OPTIMIZER = 'optimizer.safetensors'

/** Loaded on first use: it takes a while. */
function makeSchema() {
  const { z } = createRequire(import.meta.url)('zod') as typeof Zod
  const count = z.int().nonnegative()
  const finite = z.number()
  const file = z.strictObject({ bytes: count, sha256: z.string().regex(/^[0-9a-f]{64}$/) })
  const word = z.string().regex(/^\d{1,20}$/)
  return z.strictObject({
    format: z.literal('weft-checkpoint'),
    version: z.literal(1),
    weft: z.string(),
    written: z.string(),
    task: z.string().min(1),
    /** Steps done. */
    step: count,
    /** Where every rank stood in its data: batches of that epoch were taken, and whether it had ended. */
    data: z.strictObject({ epoch: count, batches: count, ended: z.boolean() }),
    seed: count,
    world: count.min(1),
    devices: z.array(z.string()).min(1),
    settings: z.strictObject({
      batchSize: count.min(1),
      accumulate: count.min(1),
      bucketMegabytes: finite,
      totalSteps: count.nullable(),
    }),
    /** Of the last step, after the schedule. */
    lr: finite,
    /** Of each rank's generator. */
    random: z.array(z.strictObject({ seed: word, offset: word })).min(1),
    optimizer: z.strictObject({
      kind: z.string(),
      steps: count,
      counts: z.record(z.string(), count),
      /** Names of the parameters, group by group. */
      groups: z.array(z.array(z.string())),
    }),
    /** How gradients lie in the arena: part of the order in which they are summed. */
    gradientOrder: z.array(count).nullable(),
    /** What the run computed in; a loss scaler's state lies with the optimizer's. */
    precision: z.string(),
    /** Of the evaluation at this very step; null where there was none. */
    metrics: z.record(z.string(), finite).nullable(),
    loss: finite.nullable(),
    files: z.strictObject({ [WEIGHTS]: file, [OPTIMIZER]: file }),
  })
}

let schema: ReturnType<typeof makeSchema> | undefined

/** A checkpoint's manifest. */
export type Manifest = Zod.output<ReturnType<typeof makeSchema>>
/** Length and checksum of one file. */
export type FileDigest = Manifest['files'][typeof WEIGHTS]

const checksum = (manifest: object) =>
  createHash('sha256').update(JSON.stringify(manifest)).digest('hex')

/** Writes the manifest: from then on the folder is a whole checkpoint. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  await writeJsonAtomically(join(folder, MANIFEST), { ...manifest, sha256: checksum(manifest) })
}

/** Reads and checks a manifest. Throws CheckpointError where it is missing or damaged. */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, MANIFEST)
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const what = missing ? `has no ${MANIFEST}: it was never completed` : (error as Error).message
    throw new CheckpointError(`${folder} ${what}`, { path: folder, torn: missing })
  }
  return parseManifest(bytes, path)
}

/** The manifest of a file's bytes; `path` names it in errors. Throws CheckpointError where it is damaged. */
export function parseManifest(bytes: Uint8Array, path: string): Manifest {
  const fail = (text: string): never => {
    throw new CheckpointError(`${path} is damaged: ${text}`, { path })
  }
  let text: string
  let parsed: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    parsed = JSON.parse(text)
  } catch {
    return fail('it is not JSON')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    return fail('it is not an object')
  }
  const twice = duplicateName(text)
  if (twice !== undefined) return fail(`it has ${twice} twice`)
  const { sha256, ...rest } = parsed as Record<string, unknown>
  if (sha256 !== checksum(rest)) return fail('its checksum does not match')
  schema ??= makeSchema()
  const result = schema.safeParse(rest)
  if (result.success) return result.data
  const issues = result.error.issues.map(
    ({ path: at, message }) => `${at.join('.') || 'all'}: ${message}`,
  )
  return fail(issues.join('; '))
}
