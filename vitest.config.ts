// Test projects: tiny, unit (no addon), host (addon, host devices), cuda1 and cuda2 (one or two GPUs).
// scripts/test.mjs runs them all. What is tested is compiled code: 'weft' is dist/index.js.
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('.', import.meta.url))

function project(name: string, timeout: number, gpus = 0) {
  return {
    extends: true as const,
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      testTimeout: timeout,
      hookTimeout: timeout,
      // One file at a time has the GPUs; without them each test is skipped with the reason.
      fileParallelism: gpus === 0,
      ...(gpus === 0 ? {} : { runner: './test/gpu-runner.ts' }),
      env: { WEFT_TEST_NEEDS_GPUS: String(gpus) },
    },
  }
}

function holdsTests(name: string): boolean {
  const folder = `${root}test/${name}`
  return (
    existsSync(folder) &&
    readdirSync(folder, { recursive: true }).some((file) => String(file).endsWith('.test.ts'))
  )
}

const projects = [
  project('tiny', 30_000),
  project('unit', 30_000),
  project('host', 120_000),
  project('cuda1', 120_000, 1),
  project('cuda2', 120_000, 2),
].filter((each) => holdsTests(each.test.name))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^weft$/, replacement: `${root}dist/index.js` },
      { find: /^weft\/testing$/, replacement: `${root}dist/testing.js` },
    ],
  },
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
