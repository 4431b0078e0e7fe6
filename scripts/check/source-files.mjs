// The files of the checkout that are ours: what git tracks, and what it does not ignore. Without git, a
// walk. Lint and the layer check read it.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const left = new Set(['node_modules', 'dist', 'runs', '.weft', '.git', 'coverage'])

function walk(root, folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    if (left.has(entry.name) || /^build(-|$)/.test(entry.name)) return []
    const path = folder ? `${folder}/${entry.name}` : entry.name
    return entry.isDirectory() ? walk(root, path) : [path]
  })
}

/** Paths relative to the root, sorted. */
export function sourceFiles(root) {
  try {
    const args = ['ls-files', '--cached', '--others', '--exclude-standard', '-z']
    const options = {
      cwd: root,
      encoding: 'utf8',
      timeout: 30_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }
    const names = execFileSync('git', args, { ...options, maxBuffer: 2 ** 26 }).split('\0')
    return names.filter((name) => name && existsSync(join(root, name))).sort()
  } catch {
    return walk(root, '').sort()
  }
}
