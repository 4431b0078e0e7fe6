// One archive for npm from a folder that holds what is published. Called by package.mjs and platform-package.mjs.
import { join } from 'node:path'
import { describeFailure, runChild } from '../children.mjs'
import { SetupError } from '../setup.mjs'

/** Runs `npm pack` of `folder` into `target`, without scripts; answers with the archive's path. */
export async function packFolder(folder, target) {
  const args = ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', target]
  const packed = await runChild('npm', args, { cwd: folder, limitSeconds: 300 })
  const name = /^\S+\.tgz$/m.exec(packed.output)?.[0]
  if (packed.code === 0 && name) return join(target, name)
  throw new SetupError(`npm pack: ${describeFailure(packed)}\n${packed.output}`)
}
