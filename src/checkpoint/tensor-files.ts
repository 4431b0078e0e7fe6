// Tensors in safetensors files, for users: `safetensors.save`, `load` and `header`. One tensor at a time is in
// host memory, whatever the file's size.
import { fileURLToPath } from 'node:url'
import { CheckpointError, UsageError } from '../native/errors.js'
import { bytesPerElement } from '../tensor/dtype.js'
import { fromBytes } from '../tensor/operators/factory.js'
import { disposeAll } from '../tensor/scope/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { TensorSpec } from './safetensors.js'
import { SafetensorsReader, type TensorSource, writeSafetensors } from './safetensors-file.js'
import { isIndex, readIndex } from './shards.js'

/** What {@link load} takes besides the path. */
export interface LoadOptions {
  /** Only these tensors are read. Default: all. */
  names?: readonly string[]
  /** Where the tensors are made. Default: defaultDevice(). */
  device?: string
}

/** What a file says of itself. */
export interface SafetensorsInfo {
  tensors: Record<string, TensorSpec>
  /** Texts that the writer left; empty where there are none. */
  metadata: Record<string, string>
}

const dimensions = 8

function pathOf(path: string | URL, call: string): string {
  if (path instanceof URL) return fileURLToPath(path)
  if (typeof path === 'string' && path !== '') return path
  throw new UsageError(`${call} takes a path or a file: URL, not ${String(path)}`)
}

/**
 * Writes `tensors` to a safetensors file, from any devices, in their own dtypes. The file is whole or not there at
 * all: it is written beside, synced, and renamed. Resolves when that has happened; until then leave the tensors
 * alone. A module's: `save('net.safetensors', model.stateDict())`.
 * @throws UsageError  something is no tensor, or metadata are not texts
 */
export async function save(
  path: string | URL,
  tensors: Record<string, Tensor>,
  metadata: Record<string, string> = {},
): Promise<void> {
  const file = pathOf(path, 'safetensors.save')
  const entries = Object.entries(tensors ?? {})
  for (const [name, tensor] of entries) {
    if (tensor instanceof Tensor) continue
    throw new UsageError(`safetensors.save: ${name} must be a Tensor`, { name })
  }
  for (const [name, text] of Object.entries(metadata)) {
    if (typeof text === 'string') continue
    throw new UsageError(`safetensors.save: metadata ${name} must be a text`, { name })
  }
  // Wide elements first, so that all of them lie aligned in the file.
  const width = ([, { dtype }]: [string, Tensor]) => bytesPerElement(dtype)
  const sources = entries
    .sort((a, b) => width(b) - width(a))
    .map(([name, tensor]): [string, TensorSource] => [
      name,
      {
        dtype: tensor.dtype,
        shape: [...tensor.shape],
        bytes: async () => new Uint8Array(await tensor.bytes()),
      },
    ])
  await writeSafetensors(file, new Map(sources), metadata)
}

/**
 * Reads tensors of a safetensors file, or of a model in several files by its `.index.json`, by range: no more of a
 * file than is asked for. The caller owns them. Into a module of matching names:
 * `model.loadStateDict(await load(path), { strict: false })`, which tells what was missing or unexpected.
 * @throws CheckpointError  the file is missing or damaged, or has not all of `names`; nothing is left on the device
 */
export async function load(
  path: string | URL,
  options: LoadOptions = {},
): Promise<Record<string, Tensor>> {
  const file = pathOf(path, 'safetensors.load')
  const { names, device } = options
  const made: [string, Tensor][] = []
  try {
    for (const [shard, wanted] of await filesOf(file, names)) {
      const reader = await SafetensorsReader.open(shard)
      try {
        for (const name of namesIn(reader, wanted)) {
          const { dtype, shape, bytes } = await reader.read(name)
          const place = device === undefined ? {} : { device }
          made.push([name, fromBytes(bytes, { dtype, shape, ...place })])
        }
      } finally {
        await reader.close()
      }
    }
    return Object.fromEntries(made)
  } catch (error) {
    disposeAll(made.map(([, tensor]) => tensor))
    throw error
  }
}

/** Names, dtypes, shapes and metadata of a file; reads its header alone. Throws CheckpointError as {@link load}. */
export async function header(path: string | URL): Promise<SafetensorsInfo> {
  const reader = await SafetensorsReader.open(pathOf(path, 'safetensors.header'))
  try {
    const { tensors, metadata } = reader.header
    const specs = Array.from(tensors, ([name, { dtype, shape }]): [string, TensorSpec] => [
      name,
      { dtype, shape },
    ])
    return { tensors: Object.fromEntries(specs), metadata }
  } finally {
    await reader.close()
  }
}

/** Files to open, with the names to read of each; undefined: all. */
async function filesOf(file: string, names: readonly string[] | undefined) {
  if (!isIndex(file)) return [[file, names]] as const
  const index = await readIndex(file)
  const missing = (names ?? []).filter((name) => !index.has(name))
  if (missing.length > 0) throw lacks(file, missing)
  const files = new Map<string, string[]>()
  for (const name of names ?? index.keys()) {
    const shard = index.get(name) as string
    files.set(shard, [...(files.get(shard) ?? []), name])
  }
  return [...files]
}

function namesIn(reader: SafetensorsReader, wanted: readonly string[] | undefined) {
  const { tensors } = reader.header
  const names = new Set(wanted ?? tensors.keys())
  const missing = [...names].filter((name) => !tensors.has(name))
  if (missing.length > 0) throw lacks(reader.path, missing)
  const long = [...names].find((name) => tensors.get(name)!.shape.length > dimensions)
  if (long === undefined) return names
  throw new CheckpointError(
    `${reader.path}: ${long} has ${tensors.get(long)!.shape.length} dimensions; a tensor has at most ${dimensions}`,
    { path: reader.path, tensor: long },
  )
}

function lacks(path: string, missing: string[]): CheckpointError {
  return new CheckpointError(`${path} has no tensor ${missing.join(', ')}`, { path, missing })
}
