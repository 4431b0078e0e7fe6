// A vitest reporter that writes what scripts/test.mjs counts: each file's tests with status and, for
// skipped ones, the reason given to `skip()`, which vitest's own JSON report leaves out.
import { writeFileSync } from 'node:fs'

export default class CountsReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const testResults = modules.map((module) => ({
      name: module.relativeModuleId,
      status: module.ok() ? 'passed' : 'failed',
      assertionResults: [...module.children.allTests()].map((test) => {
        const { state, note } = test.result()
        return { fullName: `${module.relativeModuleId} > ${test.fullName}`, status: state, note }
      }),
    }))
    const report = { testResults, unhandledErrors: unhandledErrors.length }
    writeFileSync(process.env.WEFT_TEST_REPORT, JSON.stringify(report))
  }
}
