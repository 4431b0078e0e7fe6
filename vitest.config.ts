// Test projects: tiny, unit (no addon), host (addon, host devices), cuda1 and cuda2 (one or two GPUs).
// scripts/test.mjs runs them all. Compiled code is what is tested: 'weft' is dist/index.js.
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('.', import.meta.url))
const entry = fileURLToPath(new URL('./dist/index.js', import.meta.url))

// A GPU counts only where the addon holds a CUDA driver; WEFT_TEST_GPUS says how many to use.
const gpus = Number(process.env['WEFT_TEST_GPUS'] ?? 0)

function project(name: string, options: { timeout: number; serial?: boolean }) {
  return {
    extends: true as const,
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      testTimeout: options.timeout,
      hookTimeout: options.timeout,
      fileParallelism: !options.serial,
    },
  }
}

const present = (name: string) =>
  existsSync(`${root}test/${name}`) && readdirSync(`${root}test/${name}`).length > 0

const projects = [
  project('tiny', { timeout: 30_000 }),
  project('unit', { timeout: 30_000 }),
  project('host', { timeout: 120_000 }),
  ...(gpus >= 1 ? [project('cuda1', { timeout: 120_000, serial: true })] : []),
  ...(gpus >= 2 ? [project('cuda2', { timeout: 120_000, serial: true })] : []),
].filter((entry) => present(entry.test.name))

export default defineConfig({
  resolve: { alias: [{ find: /^weft$/, replacement: entry }] },
  test: {
    // A crash of native code then stays in one file.
    pool: 'forks',
    maxWorkers: 2,
    teardownTimeout: 10_000,
    passWithNoTests: true,
    server: { deps: { external: [/\/dist\//, /\.node$/] } },
    projects,
  },
})
