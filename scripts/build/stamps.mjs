// What set-up has done already: a content hash of each step's inputs, kept in .weft/stamps.json, so that
// a second start does nothing. Also the match between node_modules and package-lock.json.
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { readJson } from '../children.mjs'

/** All files under a path (a file is itself), sorted. Missing paths hold none. */
export function filesUnder(path) {
  let stat
  try {
    stat = statSync(path)
  } catch {
    return []
  }
  if (!stat.isDirectory()) return [path]
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesUnder(join(path, name)))
}

/** Hash over names and contents of everything under `paths` (relative to `root`), and over `facts`. */
export function hashInputs(root, paths, facts = {}) {
  const hash = createHash('sha256')
  for (const file of paths.flatMap((path) => filesUnder(join(root, path)))) {
    const content = readFileSync(file)
    hash.update(`${relative(root, file)}\0${content.length}\0`).update(content)
  }
  return hash.update(JSON.stringify(facts)).digest('hex').slice(0, 32)
}

/** Stamps of a checkout: `has` before a step, `set` after it. */
export class Stamps {
  constructor(path) {
    this.path = path
    this.values = readJson(path) ?? {}
  }

  has(step, value) {
    return this.values[step] === value
  }

  set(step, value) {
    this.values[step] = value
    mkdirSync(dirname(this.path), { recursive: true })
    const fresh = `${this.path}.${process.pid}`
    writeFileSync(fresh, `${JSON.stringify(this.values, null, 2)}\n`)
    renameSync(fresh, this.path)
  }
}

/**
 * Why node_modules is not what package-lock.json says, or `null` when it is. Packages for other platforms
 * may be absent; further packages do not matter.
 */
export function installMismatch(lock, installed) {
  if (!lock?.packages) return 'package-lock.json is missing or unreadable'
  if (!installed?.packages) return 'node_modules is missing'
  for (const [path, wanted] of Object.entries(lock.packages)) {
    if (path === '') continue
    const present = installed.packages[path]
    if (!present && (wanted.optional || wanted.devOptional || wanted.peer)) continue
    if (!present) return `${path} is missing`
    if (present.version !== wanted.version) {
      return `${path} is ${present.version}, not ${wanted.version}`
    }
  }
  return null
}
