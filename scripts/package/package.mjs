// `npm run package`: weft as it is published, an archive for npm in .weft/package/. The name `weft` belongs to
// another package there, so it goes by a scoped one; who installs it as `weft@npm:@weft-runtime/weft` imports
// 'weft', as the checkout and its examples do. check-package.mjs tries the archive out.
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describeFailure, readJson, runChild } from '../children.mjs'
import { root, runMain, SetupError, setUp } from '../setup.mjs'

export const publishedName = '@weft-runtime/weft'

/** The published package.json: what a user of the package needs of the checkout's. */
export function publishedManifest(manifest) {
  const { private: _, devDependencies: __, scripts, ...rest } = manifest
  return {
    ...rest,
    name: publishedName,
    publishConfig: { access: 'public' },
    scripts: { build: scripts.build },
  }
}

/** Makes the archive from what is compiled; answers with its path. */
export async function makePackage() {
  const folder = join(root, '.weft/package')
  const staging = join(folder, 'files')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(staging, { recursive: true })
  const manifest = readJson(join(root, 'package.json'))
  for (const each of [...manifest.files, 'README.md', 'LICENSE']) {
    cpSync(join(root, each), join(staging, each), { recursive: true })
  }
  const text = JSON.stringify(publishedManifest(manifest), null, 2)
  writeFileSync(join(staging, 'package.json'), `${text}\n`)
  const args = ['pack', '--ignore-scripts', '--pack-destination', folder]
  const packed = await runChild('npm', args, { cwd: staging, limitSeconds: 120 })
  const archive = readdirSync(folder).find((name) => name.endsWith('.tgz'))
  if (packed.code === 0 && archive) return join(folder, archive)
  throw new SetupError(`npm pack: ${describeFailure(packed)}\n${packed.output}`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runMain(async () => {
    await setUp()
    console.log(await makePackage())
  })
}
