// Packages from PyPI for set-up and lint: pinned, wheels only, each set in a folder of its own.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { logOf, runChild } from '../children.mjs'

/** Installs pinned PyPI packages, wheels only, into `.weft/<folder>`. */
export function pipInstall(root, folder, packages, logName) {
  const target = join(root, '.weft', folder)
  rmSync(target, { recursive: true, force: true })
  const quiet = ['--disable-pip-version-check', '--no-input', '--retries', '2', '--timeout', '20']
  const what = ['--no-deps', '--only-binary', ':all:', '--target', target, ...packages]
  const options = { cwd: root, log: logOf(root, logName), limitSeconds: 600 }
  return runChild('python3', ['-m', 'pip', 'install', ...quiet, ...what], options)
}
