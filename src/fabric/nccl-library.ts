// Where NCCL's library lies on this machine, for benchmarks alone: weft itself never needs it. `weft bench`
// asks. Nothing is opened here but by native code, with multicast off.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { native } from '../native/addon.js'

export interface NcclLibrary {
  path: string
  /** '2.28.3' */
  version: string
}

const file = 'nvidia/nccl/lib/libnccl.so.2'

/** 22803 is '2.28.3', 2708 (before 2.9) '2.7.8'. */
export function ncclVersionText(version: number): string {
  const unit = version < 10_000 ? 1000 : 10_000
  return [Math.floor(version / unit), Math.floor((version % unit) / 100), version % 100].join('.')
}

/** Folders of Python's packages that need no Python to be named. */
function packageFolders(): string[] {
  const { VIRTUAL_ENV, CONDA_PREFIX, HOME } = process.env
  const roots = [VIRTUAL_ENV, CONDA_PREFIX, HOME && join(HOME, '.local'), '/usr/local', '/usr']
  return roots.flatMap((root) => {
    if (!root) return []
    for (const lib of [join(root, 'lib')]) {
      if (!existsSync(lib)) continue
      const pythons = readdirSync(lib).filter((name) => /^python3/.test(name))
      return pythons.flatMap((name) => [
        join(lib, name, 'site-packages'),
        join(lib, name, 'dist-packages'),
      ])
    }
    return []
  })
}

/** What the Python on the PATH searches; nothing where there is none. */
function pythonPath(): string[] {
  const asked = spawnSync('python3', ['-c', 'import sys; print("\\n".join(sys.path))'], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  return asked.status === 0 ? asked.stdout.split('\n').filter((line) => line !== '') : []
}

/**
 * Opens NCCL: `named`, else WEFT_NCCL, else the usual places. A string says why there is none; one that was named
 * and cannot be used is a DeviceError.
 */
export function findNccl(named: string | undefined): NcclLibrary | string {
  const chosen = named ?? process.env.WEFT_NCCL
  const open = (path: string): NcclLibrary => ({
    path,
    version: ncclVersionText(native.ncclVersion(path)),
  })
  if (chosen === 'off') return 'NCCL is left out (off)'
  if (chosen) return open(chosen)
  const found = [...packageFolders(), ...pythonPath()]
    .map((folder) => join(folder, file))
    .find((path) => existsSync(path))
  if (found !== undefined) return open(found)
  try {
    return open('libnccl.so.2')
  } catch {
    return (
      'NCCL was not found (Python packages, libnccl.so.2 by name): weft is measured alone. ' +
      'Name its libnccl.so.2 with --nccl or WEFT_NCCL'
    )
  }
}

/** NCCL's variables as they are now; opening it turned multicast off. */
export function ncclEnvironment(): Record<string, string> {
  const pairs = Object.entries(process.env).filter(([name]) => name.startsWith('NCCL_'))
  return Object.fromEntries(pairs as [string, string][])
}
