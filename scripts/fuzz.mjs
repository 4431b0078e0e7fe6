// `npm run fuzz -- --programs 10000 --seed 1`: test/fuzz/main.ts, random programs over several host devices against
// one device.
import { join } from 'node:path'
import { runProgram } from './run-program.mjs'
import { root, runMain, setUp } from './setup.mjs'

await runMain(async () => {
  await setUp()
  const source = join(root, 'test/fuzz/main.ts')
  process.exitCode = await runProgram(source, process.argv.slice(2), 4 * 3600_000)
})
