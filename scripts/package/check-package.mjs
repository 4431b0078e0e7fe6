// `npm run test:package`: the published packages, tried as a user would. First all archives of `npm run pack:all`
// without a compiler (check-prebuilt.mjs); then the runtime package alone, its addon built where it is installed, a program
// run, a TypeScript task trained. Needs npm's registry; where it cannot be reached the check is skipped. `--prebuilt` stops
// after the first part; `--cuda` and `--architectures` as in `pack:all`, whose archives this makes anew. The last line is `N passed, N failed, N skipped`.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { howToInstall } from '../build/installed.mjs'
import { countLine } from '../check/test-counts.mjs'
import { describeFailure, runChild } from '../children.mjs'
import { root, runMain, SetupError, setUp } from '../setup.mjs'
import { checkPrebuilt } from './check-prebuilt.mjs'
import { asJavaScript, program, task } from './consumer.mjs'
import { packAll, packOptions } from './pack-all.mjs'
import { publishedName } from './package.mjs'

/** Runs one step of the check; throws SetupError with what it printed when it fails. */
async function must(what, folder, command, args, limitSeconds, env = {}) {
  const result = await runChild(command, args, { cwd: folder, limitSeconds, env })
  if (result.code !== 0) {
    throw new SetupError(`${what}: ${describeFailure(result)}\n${result.output}`)
  }
  console.log(`package  ${what.padEnd(36)} ${result.seconds.toFixed(1)} s`)
}

/** The runtime package without a platform package: built from its own sources. */
async function checkSource(folder, archive) {
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n')
  writeFileSync(join(folder, 'program.js'), asJavaScript(program('./task.ts')))
  writeFileSync(join(folder, 'task.ts'), task)
  const quiet = ['--no-audit', '--no-fund', '--prefer-offline']
  const install = ['install', ...quiet, '--omit=optional', `weft@file:${archive}`]
  await must('source: installed', folder, 'npm', install, 300)
  const [, ...tools] = howToInstall(root).split(' ')
  // esbuild brings its program as an optional dependency, so optional ones stay out by a name of ours only.
  await must('source: what building needs', folder, 'npm', [...tools, ...quiet, 'esbuild'], 300)
  const weft = join(folder, 'node_modules/weft')
  const env = { WEFT_CUDA: 'off' }
  await must('source: built', weft, 'npm', ['run', 'build'], 1500, env)
  await must('source: built again, nothing to do', weft, 'npm', ['run', 'build'], 60, env)
  await must('source: a program', folder, process.execPath, ['program.js'], 120)
  const train = ['weft', 'train', 'task.ts', '-d', 'host:0-1', '--no-run']
  await must('source: a task on the command line', folder, 'npx', ['--no-install', ...train], 120)
}

await runMain(async () => {
  const prebuilt = { type: /** @type {const} */ ('boolean'), default: false }
  const { values } = parseArgs({ options: { prebuilt, ...packOptions } })
  // What is tried are host devices; the archives of those have no device code.
  process.env.WEFT_CUDA = 'off'
  await setUp()
  const ping = await runChild('npm', ['ping'], { limitSeconds: 30 })
  if (ping.code !== 0) {
    console.log(`package  skipped: npm's registry cannot be reached: ${describeFailure(ping)}`)
    console.log(countLine({ passed: 0, failed: 0, skipped: 1 }))
    return
  }
  const folder = mkdtempSync(join(tmpdir(), 'weft-package-'))
  // However it ends, by a signal too.
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const archives = await packAll(values)
  mkdirSync(join(folder, 'prebuilt'))
  await checkPrebuilt(join(folder, 'prebuilt'), archives)
  console.log(`package  ${publishedName} works without a compiler`)
  if (!values.prebuilt) {
    await checkSource(join(folder, 'source'), archives.get(publishedName))
    console.log(`package  ${publishedName} works where it is built`)
  }
  console.log(countLine({ passed: values.prebuilt ? 1 : 2, failed: 0, skipped: 0 }))
})
