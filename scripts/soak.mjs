// `npm run soak -- files --count 100000 --seed 1` and `npm run soak -- kill --runs 200 --seed 1 [--workers]`:
// test/soak/soak.ts, damaged files and killed runs. `--as-built` first takes dist/ and the addon as they lie there, without
// set-up: so a bundle does, `./node scripts/soak.mjs --as-built kill --device cuda:0`.
import { join } from 'node:path'
import { runProgram } from './run-program.mjs'
import { root, runMain, setUp } from './setup.mjs'

await runMain(async () => {
  const asBuilt = process.argv[2] === '--as-built'
  if (!asBuilt) await setUp()
  const source = join(root, 'test/soak/soak.ts')
  process.exitCode = await runProgram(source, process.argv.slice(asBuilt ? 3 : 2), 4 * 3600_000)
})
