// Platform packages: the compiled addon with the libraries beside it, for machines that have no compiler. One for host
// devices, one with device code for every architecture. npm chooses among them by os, cpu and libc, since they are
// optional dependencies of the runtime package; src/native/prebuilt.ts finds them. Called by pack-all.mjs.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultArchitectures } from '../build/cuda-toolkit.mjs'
import { describeFailure, readJson, runChild } from '../children.mjs'
import { root, SetupError } from '../setup.mjs'
import { neededGlibc } from './elf-needs.mjs'
import { packFolder } from './pack-folder.mjs'
import { compiledIn, platformNotice } from './third-party.mjs'

export const hostPackage = '@weft-runtime/linux-x64'
export const cudaPackage = '@weft-runtime/linux-x64-cuda'

/** The platform packages by name: what each is, and whether it has device code. */
export const platforms = {
  [hostPackage]: { description: 'weft for Linux x64: host devices', cuda: false },
  [cudaPackage]: {
    description: 'weft for Linux x64: NVIDIA GPUs and host devices',
    cuda: true,
  },
}

/** What the addon in `folder` was built with; asked in a process of its own. */
function buildInfo(folder) {
  const text = 'process.stdout.write(JSON.stringify(require(process.argv[1]).buildInfo()))'
  const args = ['-e', text, join(folder, 'weft.node')]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 }))
}

/**
 * Throws SetupError unless the build is what package `name` promises.
 *
 * @param {string} name
 * @param {{ deviceCode: string, blas: string }} info of the addon
 * @param {string} architectures of the package with device code; others than all for a rehearsal
 */
export function requireBuild(name, info, architectures = defaultArchitectures) {
  const { cuda } = platforms[name]
  const built = info.deviceCode.split(', ').filter(Boolean)
  const wanted = cuda ? architectures.split(';') : []
  if (built.join() !== wanted.join()) {
    throw new SetupError(
      `${name} has device code for ${wanted.join(', ') || 'nothing'}, but this build has it for ${built.join(', ') || 'nothing'}`,
    )
  }
  if (info.blas === 'plain') {
    throw new SetupError(`${name} comes with OpenBLAS, but this build has the plain loop`)
  }
}

/** The package.json of a platform package. */
export function platformManifest(name, { version, engines }, files, { glibc, deviceCode }) {
  const { description, cuda } = platforms[name]
  return {
    name,
    version,
    description,
    license: cuda
      ? 'SEE LICENSE IN THIRD_PARTY.md'
      : 'MIT AND BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1',
    os: ['linux'],
    cpu: ['x64'],
    libc: ['glibc'],
    engines,
    main: './weft.node',
    files: [...files, 'THIRD_PARTY.md'],
    publishConfig: { access: 'public' },
    weft: { glibc, processor: 'x86-64-v3', deviceCode },
  }
}

async function strip(file) {
  const result = await runChild('strip', ['--strip-unneeded', file], { limitSeconds: 120 })
  if (result.code !== 0)
    throw new SetupError(`strip ${file}: ${describeFailure(result)}\n${result.output}`)
}

/**
 * Makes the archive of platform package `name` from the addon in `from`; answers with its path.
 *
 * @param {string} name
 * @param {string} from folder of weft.node and the libraries beside it
 * @param {string} target folder of the archives
 * @param {string} [architectures] see requireBuild()
 */
export async function makePlatformPackage(name, from, target, architectures) {
  if (!existsSync(join(from, 'weft.node'))) throw new SetupError(`there is no weft.node in ${from}`)
  const info = buildInfo(from)
  requireBuild(name, info, architectures)
  const staging = join(target, 'files', name.replace('/', '-'))
  rmSync(staging, { recursive: true, force: true })
  mkdirSync(staging, { recursive: true })
  const files = readdirSync(from).filter((file) => /\.(node|so)(\.\d+)*$/.test(file))
  for (const file of files) {
    const copy = join(staging, file)
    cpSync(join(from, file), copy, { dereference: true })
    // Not the BLAS: pip's tools moved its sections about, and strip spoils such files.
    if (!file.includes('openblas')) await strip(copy)
  }
  const glibc = neededGlibc(files.map((file) => join(staging, file)))
  const manifest = readJson(join(root, 'package.json'))
  const facts = { glibc, deviceCode: info.deviceCode }
  const text = JSON.stringify(platformManifest(name, manifest, files, facts), null, 2)
  writeFileSync(join(staging, 'package.json'), `${text}\n`)
  const parts = compiledIn(root, { cuda: platforms[name].cuda, compiler: info.compiler })
  writeFileSync(join(staging, 'THIRD_PARTY.md'), platformNotice(parts))
  writeFileSync(join(staging, 'README.md'), readme(name, glibc, info.deviceCode))
  cpSync(join(root, 'LICENSE'), join(staging, 'LICENSE'))
  return packFolder(staging, target)
}

function readme(name, glibc, deviceCode) {
  return [
    `# ${name}`,
    '',
    `The compiled addon of [weft](https://www.npmjs.com/package/@weft-runtime/weft), a multi-GPU runtime for TypeScript. npm installs it with that; programs import \`weft\`, not this.`,
    '',
    `Linux x64 with glibc ${glibc} or newer, a processor with AVX2; ${deviceCode ? `device code for ${deviceCode}` : 'no device code'}.`,
    '',
  ].join('\n')
}
