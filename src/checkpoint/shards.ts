// Models in several files, as Hugging Face publishes large ones: model.safetensors.index.json tells which file
// beside it holds which tensor. tensor-files.ts asks which files to open.
import { readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { CheckpointError } from '../native/errors.js'
import { duplicateName } from './duplicate-names.js'

/** Is it the index of a model in several files? */
export function isIndex(path: string): boolean {
  return path.endsWith('.index.json')
}

/** The file of each tensor. Throws CheckpointError where the index is missing, damaged, or names a file elsewhere. */
export async function readIndex(path: string): Promise<Map<string, string>> {
  const fail = (text: string): never => {
    throw new CheckpointError(`${path}: ${text}`, { path })
  }
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) =>
    fail(error.code === 'ENOENT' ? 'there is no such file' : error.message),
  )
  let map: unknown
  try {
    map = (JSON.parse(text) as { weight_map?: unknown } | null)?.weight_map
  } catch {
    return fail('it is not JSON')
  }
  if (typeof map !== 'object' || map === null || Array.isArray(map)) {
    return fail('it has no weight_map, which tells the file of each tensor')
  }
  const twice = duplicateName(text)
  if (twice !== undefined) return fail(`it has ${twice} twice`)
  const files = new Map<string, string>()
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || basename(file) !== file || !file.endsWith('.safetensors')) {
      return fail(
        `${name} lies in ${JSON.stringify(file)}, which is no .safetensors file beside it`,
      )
    }
    files.set(name, join(dirname(path), file))
  }
  return files
}
