// Runs a TypeScript program of the checkout in its own process: bundled by esbuild with packages left outside,
// into .weft/program/, where 'weft' and packages resolve. example.mjs and fuzz.mjs call it.
import { spawnSync } from 'node:child_process'
import { basename, join } from 'node:path'
import { root, SetupError } from './setup.mjs'

/**
 * @param {string} source the program, a path
 * @param {string[]} args
 * @param {number} limitMs
 * @returns {Promise<number>} its exit code; throws SetupError where it could not run or took too long
 */
export async function runProgram(source, args, limitMs) {
  const esbuild = await import('esbuild')
  const outfile = join(root, '.weft/program', `${basename(source, '.ts')}.mjs`)
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
  if (child.error) throw new SetupError(`${basename(source)}: ${child.error.message}`)
  return child.status ?? 1
}
