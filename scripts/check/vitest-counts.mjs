// A vitest reporter that writes what scripts/test.mjs counts: each file's tests with status and, for
// skipped ones, the reason, which vitest's own JSON report leaves out.
import { writeFileSync } from 'node:fs'

/** Why a project's tests were never started: test/gpu-runner.ts skips them for want of GPUs. */
function reasonNotRun(project) {
  const needed = Number(project.config.env.WEFT_TEST_NEEDS_GPUS ?? 0)
  const present = Number(process.env.WEFT_TEST_GPUS ?? 0)
  if (present >= needed) return undefined
  return `needs ${needed} GPU${needed > 1 ? 's' : ''}, WEFT_TEST_GPUS is ${present}`
}

export default class CountsReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const testResults = modules.map((module) => ({
      name: module.relativeModuleId,
      status: module.ok() ? 'passed' : 'failed',
      assertionResults: [...module.children.allTests()].map((test) => {
        const { state, note } = test.result()
        const fullName = `${module.relativeModuleId} > ${test.fullName}`
        return { fullName, status: state, note: note ?? reasonNotRun(module.project) }
      }),
    }))
    const report = { testResults, unhandledErrors: unhandledErrors.length }
    writeFileSync(process.env.WEFT_TEST_REPORT, JSON.stringify(report))
  }
}
