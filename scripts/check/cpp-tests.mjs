// Builds and runs the C++ tests in a build folder: plain ones share build/ with the addon, those under a
// sanitizer have their own. Used by scripts/test.mjs and scripts/check/sanitize.mjs.
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { dropForeignBuild, parallelJobs } from '../build/build-steps.mjs'
import { probe } from '../build/requirements.mjs'
import { describeFailure, runChild, tailOf, whyFailed } from '../children.mjs'
import { countJunit, failedWhole, sanitizerReports, skippedWhole } from './test-counts.mjs'

const noGoogleTest = 'GoogleTest is not installed (apt-get install libgtest-dev)'

/**
 * @param {{ root: string, folder: string, title: string, definitions: string[], prefix?: string[],
 *   env?: Record<string, string>, buildLimitSeconds: number, testLimitSeconds: number }} options
 *   `prefix`: a command that runs build and tests (`setarch -R` for the thread sanitizer)
 * @returns {Promise<import('./test-counts.mjs').Counts>}
 */
export async function runCppTests(options) {
  const { root, folder, title, definitions, prefix = [], env = {} } = options
  const build = join(root, folder)
  const logs = join(root, '.weft/log')
  mkdirSync(logs, { recursive: true })
  dropForeignBuild(root, build)

  const run = (name, args, limitSeconds, live = false) => {
    const [command, ...rest] = [...prefix, ...args]
    const log = join(logs, `${folder}-${name}.log`)
    return runChild(command, rest, { cwd: root, env, log, limitSeconds, live })
  }
  const give = (what, result) => {
    console.log(`${title}: ${what} ${describeFailure(result)}\n${whyFailed(result.output)}`)
    return failedWhole(`${title}: ${what}`)
  }

  const ninja = await probe('ninja', ['--version'])
  const generator = ninja.code === 0 ? ['-G', 'Ninja'] : []
  const configure = [
    'cmake',
    '-S',
    '.',
    '-B',
    folder,
    ...generator,
    '-DWEFT_BUILD_TESTS=ON',
    ...definitions,
  ]
  const configured = await run('configure', configure, 300)
  if (configured.code !== 0) {
    if (/GTest/.test(configured.output)) return skippedWhole(title, noGoogleTest)
    return give('configuration', configured)
  }
  const compile = ['cmake', '--build', folder, '--parallel', String(parallelJobs)]
  const built = await run('compile', compile, options.buildLimitSeconds)
  if (built.code !== 0) return give('compilation', built)
  console.log(`${title}: compiled in ${(configured.seconds + built.seconds).toFixed(1)} s`)

  const report = join(logs, `${folder}-junit.xml`)
  rmSync(report, { force: true })
  const ctest = [
    'ctest',
    '--test-dir',
    folder,
    '--parallel',
    String(parallelJobs),
    '--timeout',
    '120',
  ]
  ctest.push('--output-on-failure', '--output-junit', report, '--quiet')
  ctest.push('--test-output-size-passed', '65536', '--test-output-size-failed', '65536')
  const tested = await run('test', ctest, options.testLimitSeconds)
  let xml
  try {
    xml = readFileSync(report, 'utf8')
  } catch {
    return give('run', tested)
  }
  const counts = countJunit(xml)
  for (const name of sanitizerReports(xml)) {
    if (counts.failures.includes(name)) continue
    counts.failures.push(`${name} (sanitizer report)`)
    counts.failed++
    counts.passed--
  }
  if (counts.failed > 0) printFailures(xml, counts.failures)
  if (tested.code !== 0 && counts.failed === 0) return give('run', tested)
  return counts
}

/** The output of each failed test, shortened. */
function printFailures(xml, names) {
  for (const [, name, body] of xml.matchAll(
    /<testcase\s[^>]*?\bname="([^"]*)"[^>]*>(.*?)<\/testcase>/gs,
  )) {
    if (!names.some((each) => each === name || each === `${name} (sanitizer report)`)) continue
    const output = /<system-out>(.*?)<\/system-out>/s.exec(body)?.[1] ?? ''
    const text = output
      .replace(/&lt;/g, '<')
      .replace(/&gt;/g, '>')
      .replace(/&quot;/g, '"')
    console.log(`--- ${name}\n${tailOf(text.replace(/&amp;/g, '&'), 60)}`)
  }
}
