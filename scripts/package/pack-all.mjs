// `npm run pack:all [-- --cuda <folder>]`: every archive that is published, in .weft/package/: the runtime package, the
// platform package for host devices from this checkout's addon, and, when asked, the one with device code from the
// addon in <folder>, which takes long to compile:
//     WEFT_CUDA=on npm run build && cp -rL build/Release build-cuda && npm run pack:all -- --cuda build-cuda
// `--architectures 90a` rehearses with an addon that has device code for fewer of them: not to be published.
// Publishes nothing. check-package.mjs installs what this makes.
import { mkdirSync, rmSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { root, runMain, setUp } from '../setup.mjs'
import { makePackage, packageFolder, publishedName } from './package.mjs'
import { cudaPackage, hostPackage, makePlatformPackage } from './platform-package.mjs'

/**
 * Makes the archives from what is built; answers with their paths by package name. The addon in build/Release must
 * have no device code.
 *
 * @param {{ cuda?: string, architectures?: string }} options `cuda`: folder of the addon with device code;
 * `architectures`: those that it must have, all when nothing is said
 */
export async function packAll({ cuda, architectures } = {}) {
  rmSync(packageFolder, { recursive: true, force: true })
  mkdirSync(packageFolder, { recursive: true })
  const builds = new Map([[hostPackage, join(root, 'build/Release')]])
  if (cuda !== undefined) builds.set(cudaPackage, resolve(cuda))
  const archives = new Map()
  for (const [name, from] of builds) {
    archives.set(name, await makePlatformPackage(name, from, packageFolder, architectures))
  }
  archives.set(publishedName, await makePackage([...builds.keys()]))
  return archives
}

/** Options of the command line that packAll() takes; check-package.mjs has them too. */
export const packOptions = {
  cuda: { type: /** @type {const} */ ('string') },
  architectures: { type: /** @type {const} */ ('string') },
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runMain(async () => {
    const { values } = parseArgs({ options: packOptions })
    // The package for host devices has no device code, whatever this machine could build.
    process.env.WEFT_CUDA = 'off'
    await setUp()
    for (const [name, archive] of await packAll(values)) {
      const megabytes = (statSync(archive).size / 1e6).toFixed(1).padStart(6)
      console.log(`package  ${name.padEnd(28)} ${megabytes} MB  ${relative(root, archive)}`)
    }
    if (values.architectures !== undefined) {
      console.log('package  a rehearsal by --architectures: not to be published')
    }
    if (values.cuda === undefined) {
      console.log(
        `package  ${cudaPackage}  not made: --cuda <folder> (CONTRIBUTING.md, "A release")`,
      )
    }
  })
}
