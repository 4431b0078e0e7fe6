// `npm run fuzz -- --programs 10000 --seed 1`: test/fuzz/main.ts, random programs over several devices against one.
// `--as-built` first takes dist/ and the addon as they lie there, without set-up: so a bundle does,
// `./node scripts/fuzz.mjs --as-built --device cuda:0 --seconds 60`.
import { join } from 'node:path'
import { runProgram } from './run-program.mjs'
import { root, runMain, setUp } from './setup.mjs'

await runMain(async () => {
  const asBuilt = process.argv[2] === '--as-built'
  if (!asBuilt) await setUp()
  const source = join(root, 'test/fuzz/main.ts')
  process.exitCode = await runProgram(source, process.argv.slice(asBuilt ? 3 : 2), 4 * 3600_000)
})
