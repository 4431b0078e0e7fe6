// `npm run bench -- <name> [arguments]`: set-up, then bench/<name>.ts, bundled by esbuild with packages
// left outside, in its own process. Without a name: the list of benchmarks. `--as-built` before the name
// takes dist/ and the addon as they lie there, without set-up.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { root, runMain, SetupError, setUp } from './setup.mjs'

const limitMs = 30 * 60_000

function benchmarks() {
  const folder = join(root, 'bench')
  if (!existsSync(folder)) return []
  const isProgram = (name) => name.endsWith('.ts') && !name.endsWith('.d.ts')
  return readdirSync(folder)
    .filter(isProgram)
    .map((name) => name.slice(0, -3))
}

await runMain(async () => {
  const asBuilt = process.argv[2] === '--as-built'
  const [name, ...args] = process.argv.slice(asBuilt ? 3 : 2)
  const names = benchmarks()
  if (!name || !names.includes(name)) {
    throw new SetupError(
      `usage: npm run bench -- [--as-built] <name>; benchmarks: ${names.join(', ') || 'none'}`,
    )
  }
  if (!asBuilt) await setUp()
  const esbuild = await import('esbuild')
  // Inside the checkout, so that 'weft' and packages resolve.
  const outfile = join(root, '.weft/bench', `${name}.mjs`)
  await esbuild.build({
    entryPoints: [join(root, 'bench', `${name}.ts`)],
    outfile,
    bundle: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: 'inline',
    logLevel: 'error',
  })
  const child = spawnSync(process.execPath, ['--enable-source-maps', outfile, ...args], {
    stdio: 'inherit',
    timeout: limitMs,
  })
  if (child.error) throw new SetupError(`bench ${name}: ${child.error.message}`)
  process.exitCode = child.status ?? 1
})
