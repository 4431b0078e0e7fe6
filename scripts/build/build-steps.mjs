// The four steps of set-up: npm packages, the packaged BLAS, the native addon, the compiled TypeScript.
// Each says whether it is due and does its work; scripts/setup.mjs calls them in order under its lock.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join, relative } from 'node:path'
import { describeFailure, logOf, readJson, runChild, tailOf, whyFailed } from '../children.mjs'
import { cudaToolkit, cutlassFolder } from './cuda-toolkit.mjs'
import { howToInstall, isInstalled, missingPackage, packageFolder } from './installed.mjs'
import { pipInstall } from './pip-install.mjs'
import { filesUnder, hashInputs, installMismatch } from './stamps.mjs'

// One compiler takes up to this much memory; more at once than fit would swap.
const bytesPerCompiler = 1.5 * 2 ** 30
export const parallelJobs = Math.max(
  1,
  Math.min(availableParallelism(), Math.floor(totalmem() / bytesPerCompiler)),
)

function failed(root, name, result) {
  const log = relative(process.cwd(), logOf(root, name)) || logOf(root, name)
  return { error: `${describeFailure(result)}\n${whyFailed(result.output)}\nthe whole log: ${log}` }
}

export const installPackages = {
  title: 'packages',

  due({ root }) {
    if (isInstalled(root)) return missingPackage(root) !== null
    const installed = readJson(join(root, 'node_modules/.package-lock.json'))
    return installMismatch(readJson(join(root, 'package-lock.json')), installed)
  },

  async run({ root }) {
    if (isInstalled(root)) {
      return {
        error:
          `${missingPackage(root)} is missing, which only building from source needs; ` +
          `in the project that uses weft: ${howToInstall(root)}`,
      }
    }
    const args = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund']
    // CI calls npm silently, which children inherit; a failure here must say why.
    args.push('--loglevel=notice')
    const options = { cwd: root, log: logOf(root, 'packages'), limitSeconds: 900 }
    const result = await runChild('npm', args, options)
    // npm ends with its manual page; what went wrong stands before it.
    const output = result.output.split('\nnpm error Clean install a project')[0]
    if (result.code !== 0) return failed(root, 'packages', { ...result, output })
    linkCommand(root)
    return { note: /added \d+ packages/.exec(result.output)?.[0] ?? 'npm ci' }
  },
}

const blasWanted = () => process.env.WEFT_BLAS !== 'off'

/** The folder of the packaged BLAS when it is whole, else `null`: then GEMM is our plain loop. */
export function blasFolder(root, versions) {
  if (!blasWanted()) return null
  const [[name, version]] = Object.entries(versions.blas)
  const folder = join(root, '.weft/python')
  const stem = name.replace('-', '_')
  if (!existsSync(join(folder, `${stem}-${version}.dist-info`, 'RECORD'))) return null
  const library = join(folder, stem, 'lib/libscipy_openblas.so')
  return existsSync(library) ? join(folder, stem) : null
}

export const installBlas = {
  title: 'BLAS',

  due({ root, versions, stamps, again }) {
    if (!blasWanted() || blasFolder(root, versions)) return false
    return again || !stamps.has('blas', this.failure(versions))
  },

  failure: (versions) => `failed: ${JSON.stringify(versions.blas)}`,

  async run({ root, versions, stamps }) {
    const [[name, version]] = Object.entries(versions.blas)
    const result = await pipInstall(root, 'python', [`${name}==${version}`], 'blas')
    if (result.code === 0 && blasFolder(root, versions)) return { note: `${name} ${version}` }
    stamps.set('blas', this.failure(versions))
    const reason = tailOf(result.output, 1) || describeFailure(result)
    const retry = 'npm run build tries again'
    return { note: `not installed, matrix products use the plain loop (${retry}): ${reason}` }
  },
}

export const buildNative = {
  title: 'native addon',

  hash({ root, versions, cuda }) {
    const inputs = ['fabric', 'native', 'cmake', 'CMakeLists.txt', 'scripts/versions.json']
    const facts = { cuda, blas: blasFolder(root, versions) !== null, compiler: compilerChoice() }
    return hashInputs(root, inputs, facts)
  },

  due(context) {
    const addon = join(context.root, 'build/Release/weft.node')
    return !existsSync(addon) || !context.stamps.has('native', this.hash(context))
  },

  async run(context) {
    const { root, versions, stamps, show } = context
    const hash = this.hash(context)
    const blas = blasFolder(root, versions)
    dropForeignBuild(root, join(root, 'build'))
    const common = ['--config', 'Release', `--CDWEFT_BLAS_DIR=${blas ?? ''}`]
    common.push(
      '--CDWEFT_BUILD_ADDON=ON',
      '--CDWEFT_BUILD_TESTS=OFF',
      ...cudaOptions(root, context.cuda),
    )
    const cmakeJs = join(packageFolder(root, 'cmake-js'), 'bin/cmake-js')
    for (const [name, args, limitSeconds] of [
      ['native-configure', ['configure'], 300],
      ['native-build', ['build', '--target', 'weft', '--parallel', String(parallelJobs)], 5400],
    ]) {
      const result = await runChild(process.execPath, [cmakeJs, ...args, ...common], {
        cwd: root,
        log: logOf(root, name),
        limitSeconds,
        onLine: (line) => /^\[ *\d+[/%]/.test(line) && show(line),
      })
      if (result.code !== 0) return failed(root, name, result)
    }
    stamps.set('native', hash)
    const device = context.cuda ? `device code for ${context.cuda.architectures}` : 'no device code'
    return {
      note: `${parallelJobs} at once, GEMM ${blas ? 'by OpenBLAS' : 'by the plain loop'}, ${device}`,
    }
  },
}

/** What CMake is told about device code. */
export function cudaOptions(root, cuda) {
  if (!cuda) return ['--CDWEFT_CUDA=off']
  return [
    '--CDWEFT_CUDA=on',
    `--CDWEFT_CUDA_ROOT=${cudaToolkit(root).root}`,
    `--CDWEFT_CUTLASS_DIR=${cutlassFolder(root)}`,
    `--CDWEFT_CUDA_ARCHITECTURES=${cuda.architectures}`,
  ]
}

const compilerChoice = () => `${process.env.CC ?? ''} ${process.env.CXX ?? ''}`

/** A build folder that another path or generator made cannot be used: removes it. */
export function dropForeignBuild(root, folder) {
  let cache
  try {
    cache = readFileSync(join(folder, 'CMakeCache.txt'), 'utf8')
  } catch {
    return
  }
  const home = /^CMAKE_HOME_DIRECTORY:\w+=(.*)$/m.exec(cache)?.[1]
  const tool = /^CMAKE_MAKE_PROGRAM:\w+=(.*)$/m.exec(cache)?.[1]
  const ours = home && join(home, '.') === join(root, '.').replace(/\/$/, '')
  if (!ours || !tool || !existsSync(tool)) rmSync(folder, { recursive: true, force: true })
}

export const buildTypeScript = {
  title: 'TypeScript',

  hash: ({ root }) => hashInputs(root, ['src', 'tsconfig.json', 'package-lock.json']),

  due(context) {
    const entry = join(context.root, 'dist/cli/main.js')
    if (isInstalled(context.root)) return !existsSync(entry)
    return !existsSync(entry) || !context.stamps.has('typescript', this.hash(context))
  },

  async run(context) {
    const { root, stamps } = context
    if (isInstalled(root)) {
      return { error: 'dist/ is not in the installed package: install weft again' }
    }
    const hash = this.hash(context)
    const args = [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json']
    const options = { cwd: root, log: logOf(root, 'typescript'), limitSeconds: 300 }
    const result = await runChild(process.execPath, args, options)
    if (result.code !== 0) return failed(root, 'typescript', result)
    const removed = dropOrphans(root)
    linkCommand(root)
    stamps.set('typescript', hash)
    return {
      note: `${filesUnder(join(root, 'src')).length} files${removed ? `, ${removed} removed` : ''}`,
    }
  },
}

/** Removes compiled files whose source is gone. */
function dropOrphans(root) {
  let removed = 0
  for (const file of filesUnder(join(root, 'dist'))) {
    const source = relative(join(root, 'dist'), file).replace(/(\.d\.ts|\.js\.map|\.js)$/, '.ts')
    if (existsSync(join(root, 'src', source))) continue
    rmSync(file)
    removed++
  }
  return removed
}

/** `npx weft` inside the checkout runs the checkout. */
function linkCommand(root) {
  const command = join(root, 'dist/cli/main.js')
  if (!existsSync(command)) return
  chmodSync(command, 0o755)
  const link = join(root, 'node_modules/.bin/weft')
  mkdirSync(join(root, 'node_modules/.bin'), { recursive: true })
  rmSync(link, { force: true })
  symlinkSync('../../dist/cli/main.js', link)
}
