// `npm test`: set-up, the C++ tests, vitest; the last line is `N passed, N failed, N skipped` over both.
// `--only cpp` or `--only ts` runs one part; further arguments go to vitest.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { blasFolder } from './build/build-steps.mjs'
import { runCppTests } from './check/cpp-tests.mjs'
import {
  addCounts,
  countLine,
  countVitest,
  failedWhole,
  printSection,
} from './check/test-counts.mjs'
import { describeFailure, readJson, runChild } from './children.mjs'
import { root, runMain, setUp } from './setup.mjs'

const vitestLimitSeconds = 1500

function cppTests() {
  const blas = blasFolder(root, readJson(join(root, 'scripts/versions.json')))
  return runCppTests({
    root,
    folder: 'build',
    title: 'C++ tests',
    definitions: ['-DCMAKE_BUILD_TYPE=Release', `-DWEFT_BLAS_DIR=${blas ?? ''}`],
    buildLimitSeconds: 1800,
    testLimitSeconds: 900,
  })
}

async function vitest(args) {
  const report = join(root, '.weft/log/vitest.json')
  rmSync(report, { force: true })
  const program = join(root, 'node_modules/vitest/vitest.mjs')
  const reporters = ['--reporter=default', '--reporter=./scripts/check/vitest-counts.mjs']
  const result = await runChild(process.execPath, [program, 'run', ...reporters, ...args], {
    cwd: root,
    env: { WEFT_TEST_REPORT: report, [process.stdout.isTTY ? 'FORCE_COLOR' : 'NO_COLOR']: '1' },
    log: join(root, '.weft/log/vitest.log'),
    limitSeconds: vitestLimitSeconds,
    live: true,
  })
  const written = readJson(report)
  if (!written) return failedWhole(`vitest ${describeFailure(result)}`)
  const counts = countVitest(written)
  // An error outside any test, or a crash at the end, fails the run as well.
  if (result.code !== 0 && counts.failed === 0) {
    return addCounts([counts, failedWhole(`vitest ${describeFailure(result)}`)])
  }
  return counts
}

await runMain(async () => {
  const args = process.argv.slice(2)
  const at = args.indexOf('--only')
  const only = at < 0 ? null : args.splice(at, 2)[1]
  const sections = []
  const section = async (title, run) => {
    const start = performance.now()
    const counts = await run()
    printSection(title, counts, (performance.now() - start) / 1000)
    sections.push(counts)
  }
  try {
    await setUp()
    if (only !== 'ts') await section('C++ tests', cppTests)
    if (only !== 'cpp') await section('TypeScript tests', () => vitest(args))
  } catch (error) {
    console.error(error.name === 'SetupError' ? `weft: ${error.message}` : error)
    sections.push(failedWhole('set-up'))
  }
  const total = addCounts(sections)
  if (total.failed > 0) process.exitCode = 1
  console.log(countLine(total))
})
