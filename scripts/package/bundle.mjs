// `npm run bundle`: one archive that runs on a GPU box with no Node and no network: Node itself, the addon with
// its libraries, the compiled TypeScript, the packages, tests, benches and examples. Unpack it and call
// `./weft doctor`, `./weft train ...`, `./test-all`, `./run-bench <name>` or `./node <file>`. `--addon <folder>` takes
// the addon and the libraries beside it from another build, and packages and dist/ as they lie here.
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { runChild } from '../children.mjs'
import { root, runMain, SetupError, setUp } from '../setup.mjs'
import { neededPackages, takesFile } from './bundle-packages.mjs'

const limitBytes = 60e6
const folders = ['dist', 'src', 'test', 'bench', 'examples', 'scripts']
const files = ['package.json', 'vitest.config.ts', 'tsconfig.json', 'LICENSE', 'README.md']
// The C++ and CUDA test programs need a compiler and the sources; the tests of layers, names, packages and documents read
// what stays behind.
const leftOut = [
  /^test\/(cpp|cuda)(\/|$)/,
  /^test\/unit\/(layers|public-names|packaged-folders|prebuilt)\.test\.ts$/,
  /^test\/host\/documents(\/|$)/,
  /(^|\/)__pycache__(\/|$)/,
  /^dist\/.*(\.map|\.d\.ts)$/,
]

async function must(command, args, options = {}) {
  const result = await runChild(command, args, { cwd: root, limitSeconds: 1800, ...options })
  if (result.code !== 0) throw new SetupError(`${command} failed:\n${result.output.slice(-800)}`)
}

/** `here` is the bundle's folder, wherever the program is called from. */
function program(file, text) {
  const here = 'here=$(dirname "$(readlink -f "$0")")'
  writeFileSync(file, `#!/bin/sh\n${here}\n${text}\n`)
  chmodSync(file, 0o755)
}

/** Asked in a process of its own: what the addon that goes into the bundle was built with. */
function buildInfo(addon) {
  const text = 'process.stdout.write(JSON.stringify(require(process.argv[1]).buildInfo()))'
  return JSON.parse(execFileSync(process.execPath, ['-e', text, addon], { timeout: 60_000 }))
}

function commit() {
  try {
    return execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
    }).trim()
  } catch {
    return 'an unknown commit'
  }
}

async function copyBinaries(from, folder) {
  cpSync(process.execPath, join(folder, 'node'))
  await must('strip', [join(folder, 'node')])
  mkdirSync(join(folder, 'build/Release'), { recursive: true })
  for (const file of readdirSync(from)) {
    if (!/\.(node|so)(\.\d+)*$/.test(file)) continue
    const target = join(folder, 'build/Release', file)
    cpSync(join(from, file), target, { dereference: true })
    chmodSync(target, 0o755)
    // Not the BLAS: pip's tools moved its sections about, and strip spoils such files.
    if (!file.includes('openblas')) await must('strip', ['--strip-unneeded', target])
  }
}

function copySources(folder) {
  const filter = (source) => !leftOut.some((each) => each.test(relative(root, source)))
  for (const each of [...folders, ...files]) {
    const source = join(root, each)
    if (existsSync(source)) cpSync(source, join(folder, each), { recursive: true, filter })
  }
}

function copyPackages(folder) {
  for (const place of neededPackages(root)) {
    const source = join(root, 'node_modules', place)
    cpSync(source, join(folder, 'node_modules', place), {
      recursive: true,
      filter: (file) => takesFile(place, relative(source, file)),
    })
  }
}

function writePrograms(folder) {
  program(join(folder, 'weft'), 'exec "$here/node" "$here/dist/cli/main.js" "$@"')
  program(
    join(folder, 'run-bench'), // `bench` is the folder
    'cd "$here" && exec ./node scripts/bench.mjs --as-built "$@"',
  )
  const count =
    "require('./build/Release/weft.node').buildInfo().drivers.find((d) => d.name === 'cuda')?.devices ?? 0"
  program(
    join(folder, 'test-all'),
    [
      'cd "$here" || exit 1',
      `: "\${WEFT_TEST_GPUS:=$(./node -p "${count}")}"`,
      'export WEFT_TEST_GPUS',
      'exec ./node node_modules/vitest/vitest.mjs run "$@"',
    ].join('\n'),
  )
}

await runMain(async () => {
  const { values } = parseArgs({ options: { addon: { type: 'string' } } })
  if (values.addon === undefined) await setUp()
  const from = resolve(values.addon ?? join(root, 'build/Release'))
  if (!existsSync(join(from, 'weft.node'))) throw new SetupError(`there is no weft.node in ${from}`)
  const name = `weft-${process.platform}-${process.arch}`
  const folder = join(root, '.weft/bundle', name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })

  await copyBinaries(from, folder)
  copySources(folder)
  copyPackages(folder)
  writePrograms(folder)
  const info = buildInfo(join(folder, 'build/Release/weft.node'))
  const about = {
    commit: commit(),
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    cuda: info.deviceCode || 'none',
  }
  writeFileSync(join(folder, 'bundle.json'), `${JSON.stringify(about)}\n`)

  const archive = join(root, '.weft/bundle', `${name}.tar.xz`)
  rmSync(archive, { force: true })
  const owner = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner']
  await must('tar', [...owner, '-C', join(folder, '..'), '-cf', archive, '-I', 'xz -T2 -7', name])
  const bytes = statSync(archive).size
  const megabytes = (bytes / 1e6).toFixed(1)
  console.log(`bundle  ${relative(root, archive)}  ${megabytes} MB  device code: ${about.cuda}`)
  if (bytes > limitBytes) throw new SetupError(`the bundle is larger than ${limitBytes / 1e6} MB`)
})
