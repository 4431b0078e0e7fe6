// `npm run example -- <name> [arguments]`: runs examples/multigpu/<name>.ts, a program of its own, bundled by
// esbuild with packages left outside. Programs that are tasks are run by `npx weft train` instead.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root, runMain, SetupError, setUp } from './setup.mjs'

const limitMs = 10 * 60_000

await runMain(async () => {
  const [name, ...args] = process.argv.slice(2)
  const source = join(root, 'examples/multigpu', `${name}.ts`)
  if (!name || !existsSync(source)) {
    throw new SetupError('usage: npm run example -- <name>, such as tensor-parallel or pipeline')
  }
  await setUp()
  const esbuild = await import('esbuild')
  // Inside the checkout, so that 'weft' and packages resolve.
  const outfile = join(root, '.weft/example', `${name}.mjs`)
  await esbuild.build({
    entryPoints: [source],
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
  if (child.error) throw new SetupError(`example ${name}: ${child.error.message}`)
  process.exitCode = child.status ?? 1
})
