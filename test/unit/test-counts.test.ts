// The counts that `npm test` and CI end with, from CTest's and vitest's reports.
import { expect, test } from 'vitest'
import {
  addCounts,
  countJunit,
  countLine,
  countVitest,
  failedWhole,
  sanitizerReports,
  skippedWhole,
} from '../../scripts/check/test-counts.mjs'

const junit = `<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="Linux" tests="4" failures="1" disabled="0" skipped="1">
  <testcase name="fabric/A.passes" classname="A" time="0.01" status="run">
    <system-out>[ OK ]</system-out>
  </testcase>
  <testcase name="fabric/A.fails&lt;int&gt;" classname="A" time="0.01" status="fail">
    <failure message="Failed"/>
    <system-out>WARNING: ThreadSanitizer: data race</system-out>
  </testcase>
  <testcase name="fabric/A.skips" classname="A" time="0.01" status="notrun">
    <skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
    <system-out>a_test.cc:9: Skipped
needs two sockets

[  SKIPPED ] A.skips</system-out>
  </testcase>
  <testcase name="native/B.missing" classname="B" time="0" status="notrun"/>
</testsuite>`

test('CTest: passed, failed, skipped with the reason, not run', () => {
  const counts = countJunit(junit)
  expect(countLine(counts)).toBe('1 passed, 2 failed, 1 skipped')
  expect(counts.failures).toEqual(['fabric/A.fails<int>', 'native/B.missing'])
  expect(counts.skips).toEqual([{ name: 'fabric/A.skips', reason: 'needs two sockets' }])
})

test('a sanitizer report is found in the output', () => {
  expect(sanitizerReports(junit)).toEqual(['fabric/A.fails<int>'])
})

test('vitest: a file that does not load is one failure', () => {
  const counts = countVitest({
    testResults: [
      { name: 'a.test.ts', status: 'failed', assertionResults: [] },
      {
        name: 'b.test.ts',
        status: 'passed',
        assertionResults: [
          { fullName: 'b > one', status: 'passed' },
          { fullName: 'b > two', status: 'skipped', note: 'needs 1 GPU' },
        ],
      },
    ],
  })
  expect(countLine(counts)).toBe('1 passed, 1 failed, 1 skipped')
  expect(counts.skips[0]?.reason).toBe('needs 1 GPU')
})

test('sections add up', () => {
  const total = addCounts([countJunit(junit), skippedWhole('x', 'why'), failedWhole('y')])
  expect(countLine(total)).toBe('1 passed, 3 failed, 2 skipped')
})
