// npm run bench -- profile: every part of a step is in one of three sums, and the FLOP of its products are those of the
// workload's shapes.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { device } from '../device.js'

const script = fileURLToPath(new URL('../../../scripts/bench.mjs', import.meta.url))

function profile(...args: string[]) {
  const small = ['--work', 'reverse', '--batch', '2', '--steps', '2', '--warmup', '1']
  return spawnSync(
    process.execPath,
    [script, '--as-built', 'profile', '--device', device, ...small, ...args],
    { encoding: 'utf8', timeout: 110_000 },
  )
}

test('a profile of a step tells time, bytes and FLOP by operator, forward and backward', () => {
  const { stdout, stderr, status } = profile('--json')
  expect(status, stderr).toBe(0)
  const found = JSON.parse(stdout)
  expect(found).toMatchObject({ work: 'reverse', batch: 2, steps: 2, dropped: 0 })
  const sum = found.forwardUs + found.backwardUs + found.otherUs
  expect(sum).toBeCloseTo(found.busyUs, 3)
  for (const part of ['forwardUs', 'backwardUs', 'otherUs']) expect(found[part]).toBeGreaterThan(0)
  const row = (name: string) => found.rows.find((each: { name: string }) => each.name === name)
  // 2 sequences of 64 tokens; two layers of 12 width² weights, and below a head of 36 classes.
  const products = 2 * 2 * 64 * 2 * 12 * 128 * 128
  expect(row('linear').flop).toBeCloseTo(products, -2)
  expect(row('linear.backward').flop).toBeCloseTo(2 * products, -2)
  // The head with its loss: the product, and those of both gradients at once.
  expect(row('linear_cross_entropy').flop).toBeCloseTo(3 * 2 * 2 * 64 * 36 * 128, -2)
  expect(row('linear').shareOfLimit).toBeGreaterThan(0)
  expect(found.limits.how).toMatch(/^measured: a copy of /)
})

test('as a table, and wrong arguments are named', () => {
  const { stdout, status } = profile('--top', '3')
  expect(status).toBe(0)
  expect(stdout).toMatch(/limits {4}[\d.]+ GB\/s, [\d.e-]+ TFLOP\/s \(measured: /)
  expect(stdout).toMatch(/│ linear.backward +│ backward │/)
  expect(stdout).toMatch(/a step {4}.* of work \(forward .*, backward .*, other .*\) in /)
  expect(profile('--steps', 'many').stderr).toContain(
    '--steps many: it must be a whole number from 1',
  )
})
