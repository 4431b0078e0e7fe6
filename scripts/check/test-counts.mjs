// Counts of passed, failed and skipped tests, from CTest's JUnit file and from vitest's JSON file, and the
// closing line that people and CI read. Used by scripts/test.mjs and scripts/check/sanitize.mjs.

/**
 * @typedef {object} Counts
 * @property {number} passed
 * @property {number} failed
 * @property {number} skipped
 * @property {{ name: string, reason: string }[]} skips
 * @property {string[]} failures
 */

/** @returns {Counts} */
export function noCounts() {
  return { passed: 0, failed: 0, skipped: 0, skips: [], failures: [] }
}

/** @returns {Counts} */
export function skippedWhole(name, reason) {
  return { ...noCounts(), skipped: 1, skips: [{ name, reason }] }
}

/** @returns {Counts} */
export function failedWhole(name) {
  return { ...noCounts(), failed: 1, failures: [name] }
}

/** @param {Counts[]} all */
export function addCounts(all) {
  const sum = noCounts()
  for (const each of all) {
    sum.passed += each.passed
    sum.failed += each.failed
    sum.skipped += each.skipped
    sum.skips.push(...each.skips)
    sum.failures.push(...each.failures)
  }
  return sum
}

export function countLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}

const entities = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }
const unescapeXml = (text) => text.replace(/&(lt|gt|amp|quot|apos);/g, (_, name) => entities[name])

/** GoogleTest prints `file:line: Skipped`, then the reason. */
function skipReason(output) {
  const match = /: Skipped\n([^\n[]+)/.exec(output)
  return match ? match[1].trim() : 'skipped by the test'
}

/** From the JUnit file that `ctest --output-junit` writes. */
export function countJunit(xml) {
  const counts = noCounts()
  for (const match of xml.matchAll(/<testcase\s([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)) {
    const [, attributes, body = ''] = match
    const name = unescapeXml(/\bname="([^"]*)"/.exec(attributes)?.[1] ?? '?')
    const status = /\bstatus="([^"]*)"/.exec(attributes)?.[1]
    if (/<skipped\b/.test(body) || status === 'disabled') {
      counts.skipped++
      const reason = status === 'disabled' ? 'disabled' : skipReason(unescapeXml(body))
      counts.skips.push({ name, reason })
    } else if (status === 'run') {
      counts.passed++
    } else {
      counts.failed++
      counts.failures.push(name)
    }
  }
  return counts
}

/** Names of CTest tests whose output holds a sanitizer's report. */
export function sanitizerReports(xml) {
  const report = /(WARNING|FATAL): ThreadSanitizer|ERROR: (Address|Leak)Sanitizer|runtime error: /
  const names = []
  for (const [, name, body] of xml.matchAll(
    /<testcase\s[^>]*?\bname="([^"]*)"[^>]*>(.*?)<\/testcase>/gs,
  )) {
    if (report.test(body)) names.push(unescapeXml(name))
  }
  return names
}

/** From vitest's JSON report. A file that could not be loaded counts as one failure. */
export function countVitest(report) {
  const counts = noCounts()
  for (const file of report.testResults ?? []) {
    if (file.status === 'failed' && file.assertionResults.length === 0) {
      counts.failed++
      counts.failures.push(file.name)
    }
    for (const test of file.assertionResults) {
      const name = test.fullName
      if (test.status === 'passed') {
        counts.passed++
      } else if (test.status === 'failed') {
        counts.failed++
        counts.failures.push(name)
      } else {
        counts.skipped++
        counts.skips.push({ name, reason: test.note ?? test.status })
      }
    }
  }
  return counts
}

/** Prints skips by reason, failures by name, and the line of a section. */
export function printSection(title, counts, seconds) {
  const byReason = new Map()
  for (const { name, reason } of counts.skips) {
    byReason.set(reason, [...(byReason.get(reason) ?? []), name])
  }
  for (const [reason, names] of byReason) {
    console.log(`skipped  ${names.length === 1 ? names[0] : `${names.length} tests`}: ${reason}`)
  }
  for (const name of counts.failures) console.log(`failed   ${name}`)
  console.log(`${title}: ${countLine(counts)} (${seconds.toFixed(1)} s)`)
}
