// `npm run soak -- files --count 100000 --seed 1` and `npm run soak -- kill --runs 200 --seed 1 [--workers]`:
// test/soak/soak.ts, damaged files and killed runs.
import { join } from 'node:path'
import { runProgram } from './run-program.mjs'
import { root, runMain, setUp } from './setup.mjs'

await runMain(async () => {
  await setUp()
  const source = join(root, 'test/soak/soak.ts')
  process.exitCode = await runProgram(source, process.argv.slice(2), 4 * 3600_000)
})
