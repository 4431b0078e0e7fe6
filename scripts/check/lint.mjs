// `npm run lint` checks, `npm run format` (--fix) rewrites: Biome over TypeScript, JavaScript and JSON,
// clang-format over C++. clang-format comes pinned from PyPI, so that every machine formats alike.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pipInstall } from '../build/pip-install.mjs'
import { describeFailure, readJson, runChild, tailOf } from '../children.mjs'
import { root, runMain, SetupError } from '../setup.mjs'
import { sourceFiles } from './source-files.mjs'

const cppFolders = /^(fabric|native|plugins|test\/cpp)\/.*\.(cc|h|cu|cuh)$/

async function clangFormat() {
  const { format } = readJson(join(root, 'scripts/versions.json'))
  const [[name, version]] = Object.entries(format)
  const folder = join(root, '.weft/clang-format')
  const program = join(folder, 'clang_format/data/bin/clang-format')
  const installed = existsSync(join(folder, `clang_format-${version}.dist-info`, 'RECORD'))
  if (installed && existsSync(program)) return program
  const result = await pipInstall(root, 'clang-format', [`${name}==${version}`], 'clang-format')
  if (result.code === 0 && existsSync(program)) return program
  const why = `${describeFailure(result)}\n${tailOf(result.output, 10)}`
  throw new SetupError(`${name} ${version} could not be installed: ${why}`)
}

/** clang-format names each place; the files are enough, since `npm run format` mends them. */
function filesNamed(output) {
  const names = [...output.matchAll(/^(\S+?):\d+:\d+: (?:error|warning)/gm)].map(
    (match) => match[1],
  )
  const files = [...new Set(names)].map((name) => `  ${name}: not formatted`)
  return files.length > 0 ? files.join('\n') : output
}

async function check(title, command, args, shorten = (output) => tailOf(output, 200)) {
  const result = await runChild(command, args, { cwd: root, limitSeconds: 300 })
  if (result.code !== 0) console.log(shorten(result.output))
  const verdict = result.code === 0 ? 'ok' : describeFailure(result)
  console.log(`${title}: ${verdict} (${result.seconds.toFixed(1)} s)`)
  if (result.code !== 0) process.exitCode = 1
}

await runMain(async () => {
  const fix = process.argv.includes('--fix')
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome')
  if (!existsSync(biome)) throw new SetupError('node_modules is missing: run npm run build first')
  const biomeArgs = [biome, 'check', '--max-diagnostics=100', '--colors=off']
  await check('biome', process.execPath, [...biomeArgs, ...(fix ? ['--write'] : [])])
  const files = sourceFiles(root).filter((path) => cppFolders.test(path))
  const mode = fix ? ['-i'] : ['--dry-run', '-Werror']
  await check('clang-format', await clangFormat(), [...mode, ...files], filesNamed)
})
