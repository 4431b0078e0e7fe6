// `npm run package`: weft as it is published, an archive for npm in .weft/package/. The name `weft` belongs to
// another package there, so it goes by a scoped one; who installs it as `weft@npm:@weft-runtime/weft` imports
// 'weft', as the checkout and its examples do. It holds no compiled addon: the platform packages do, which npm chooses
// among (pack-all.mjs makes all of them). check-package.mjs tries the archives out.
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { readJson } from '../children.mjs'
import { root, runMain, setUp } from '../setup.mjs'
import { packFolder } from './pack-folder.mjs'
import { hostPackage } from './platform-package.mjs'
import { runtimeNotice } from './third-party.mjs'

export const publishedName = '@weft-runtime/weft'
/** Where the archives are made. */
export const packageFolder = join(root, '.weft/package')

/**
 * The published package.json: what a user of the package needs of the checkout's, and the platform packages that are
 * published with it. One that the registry does not have would make `npm ci` of every user fail.
 *
 * @param {any} manifest
 * @param {string[]} platforms names of platform packages
 */
export function publishedManifest(manifest, platforms) {
  const { private: _, devDependencies: __, scripts, ...rest } = manifest
  const optional = platforms.map((name) => [name, manifest.version])
  return {
    ...rest,
    name: publishedName,
    publishConfig: { access: 'public' },
    files: [...manifest.files, 'THIRD_PARTY.md'],
    scripts: { build: scripts.build },
    optionalDependencies: Object.fromEntries(optional),
  }
}

/**
 * Makes the runtime package's archive in `target` from what is compiled; answers with its path.
 *
 * @param {string[]} platforms names of the platform packages that go with it
 */
export async function makePackage(platforms = [hostPackage], target = packageFolder) {
  const staging = join(target, 'files/weft')
  rmSync(staging, { recursive: true, force: true })
  mkdirSync(staging, { recursive: true })
  const manifest = readJson(join(root, 'package.json'))
  for (const each of [...manifest.files, 'README.md', 'LICENSE']) {
    cpSync(join(root, each), join(staging, each), { recursive: true })
  }
  const text = JSON.stringify(publishedManifest(manifest, platforms), null, 2)
  writeFileSync(join(staging, 'package.json'), `${text}\n`)
  writeFileSync(join(staging, 'THIRD_PARTY.md'), runtimeNotice(root))
  return packFolder(staging, target)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runMain(async () => {
    await setUp()
    console.log(await makePackage())
  })
}
