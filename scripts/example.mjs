// `npm run example -- <name> [arguments]`: runs examples/multigpu/<name>.ts, a program of its own. Programs that
// are tasks are run by `npx weft train` instead.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { runProgram } from './run-program.mjs'
import { root, runMain, SetupError, setUp } from './setup.mjs'

await runMain(async () => {
  const [name, ...args] = process.argv.slice(2)
  const source = join(root, 'examples/multigpu', `${name}.ts`)
  if (!name || !existsSync(source)) {
    throw new SetupError('usage: npm run example -- <name>, such as tensor-parallel or pipeline')
  }
  await setUp()
  process.exitCode = await runProgram(source, args, 10 * 60_000)
})
