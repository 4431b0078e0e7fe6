// `npm run test:tsan` and `test:asan`: the C++ tests under ThreadSanitizer, or under AddressSanitizer with
// UndefinedBehaviorSanitizer. The last line counts the tests; a report fails its test.

import { probe } from '../build/requirements.mjs'
import { root, runMain, SetupError } from '../setup.mjs'
import { runCppTests } from './cpp-tests.mjs'
import { countLine, printSection } from './test-counts.mjs'

const sanitizers = {
  thread: {
    folder: 'build-tsan',
    title: 'C++ tests under ThreadSanitizer',
    env: {
      // At its end a process waits a second for races of threads that go on: too long for a thousand of them.
      TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1:exitcode=66:atexit_sleep_ms=50',
    },
  },
  address: {
    folder: 'build-asan',
    title: 'C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer',
    env: {
      ASAN_OPTIONS: 'detect_leaks=1:halt_on_error=1:detect_stack_use_after_return=1:exitcode=67',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    },
  },
}

/** ThreadSanitizer of GCC 12 cannot map its shadow where the kernel randomises addresses widely. */
async function fixedAddresses() {
  const prefix = ['setarch', process.arch === 'arm64' ? 'aarch64' : 'x86_64', '-R']
  return (await probe(prefix[0], [...prefix.slice(1), 'true'])).code === 0 ? prefix : []
}

await runMain(async () => {
  const kind = process.argv[2]
  const chosen = sanitizers[kind]
  if (!chosen) throw new SetupError('usage: node scripts/check/sanitize.mjs thread|address')
  const start = performance.now()
  const counts = await runCppTests({
    root,
    ...chosen,
    prefix: kind === 'thread' ? await fixedAddresses() : [],
    definitions: [
      '-DCMAKE_BUILD_TYPE=Debug',
      '-DWEFT_BUILD_ADDON=OFF',
      '-DWEFT_BLAS_DIR=',
      '-DWEFT_UNITY=ON',
      `-DWEFT_SANITIZER=${kind}`,
    ],
    buildLimitSeconds: 1800,
    testLimitSeconds: 1200,
  })
  printSection(chosen.title, counts, (performance.now() - start) / 1000)
  if (counts.failed > 0) process.exitCode = 1
  console.log(countLine(counts))
})
