// `npm run reference`: the API reference from the docstrings of src/, made by TypeDoc into .weft/reference/index.html. A
// public class, function, method, accessor or type without a docstring, or a broken link, is an error. TypeDoc reads with an
// older TypeScript than the one that compiles weft, so both are pinned apart (scripts/reference/) and lie in .weft/typedoc.
import { copyFileSync, mkdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { installMismatch } from './build/stamps.mjs'
import { describeFailure, readJson, runChild } from './children.mjs'
import { root, runMain, SetupError } from './setup.mjs'

const pins = join(root, 'scripts/reference')
const tools = join(root, '.weft/typedoc')

async function must(what, command, args, cwd, limitSeconds) {
  const result = await runChild(command, args, { cwd, limitSeconds })
  if (result.code !== 0) {
    throw new SetupError(`${what}: ${describeFailure(result)}\n${result.output}`)
  }
}

async function install() {
  const installed = readJson(join(tools, 'node_modules/.package-lock.json'))
  if (!installMismatch(readJson(join(pins, 'package-lock.json')), installed)) return
  mkdirSync(tools, { recursive: true })
  for (const file of ['package.json', 'package-lock.json']) {
    copyFileSync(join(pins, file), join(tools, file))
  }
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  await must('installing TypeDoc', 'npm', args, tools, 300)
}

await runMain(async () => {
  await install()
  const typedoc = join(tools, 'node_modules/typedoc/bin/typedoc')
  const args = [typedoc, '--options', join(pins, 'typedoc.json')]
  await must('the reference', process.execPath, args, root, 300)
  console.log(`reference  ${relative(process.cwd(), join(root, '.weft/reference/index.html'))}`)
})
