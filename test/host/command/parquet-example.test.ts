// examples/multigpu/parquet.ts: a Parquet file of several row groups and types becomes a dataset that two devices learn;
// what is wrong with a file is said by column.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parquetWriteFile } from 'hyparquet-writer'
import { afterAll, expect, test } from 'vitest'
import { data } from 'weft'

const folder = mkdtempSync(join(tmpdir(), 'weft-parquet-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = (of: string) => fileURLToPath(new URL(`../../../${of}`, import.meta.url))

function train(file: string, environment: Record<string, string> = {}) {
  const run = ['--devices', 'host:0-1', '--no-run', '--json', '--seed', '1']
  return spawnSync(
    process.execPath,
    [path('dist/cli/main.js'), 'train', path('examples/multigpu/parquet.ts'), ...run],
    {
      ...{ encoding: 'utf8', timeout: 100_000, cwd: path('.') },
      env: { ...process.env, WEFT_PARQUET: file, ...environment },
    },
  )
}

const rows = 2500
const next = data.randomStream(5)
const uniform = () => next() / 2 ** 31 - 1
const a = Array.from({ length: rows }, uniform)
const b = Array.from({ length: rows }, () => BigInt(next() % 100))
const price = a.map((value, i) => 3 * value * value - Number(b[i]) / 50)

test('columns of several row groups and types are learnt', () => {
  const filename = join(folder, 'houses.parquet')
  parquetWriteFile({
    filename,
    columnData: [
      { name: 'a', data: a, type: 'DOUBLE' },
      { name: 'rooms', data: b, type: 'INT64' },
      { name: 'price', data: Float32Array.from(price), type: 'FLOAT' },
    ],
    rowGroupSize: 700,
  })
  const { stdout, stderr, status } = train(filename, { WEFT_TARGET: 'price' })
  expect(status, stderr).toBe(0)
  const result = JSON.parse(stdout)
  expect(result).toMatchObject({ unit: 'rows', replicasEqual: true })
  // 2250 rows of training, 128 a step, 3 epochs; of a variance of 1 a tenth is left.
  expect(result.steps).toBe(3 * 17)
  expect(result.metrics.error).toBeLessThan(0.1)
})

test('a column that is missing or holds no numbers is named', () => {
  const filename = join(folder, 'names.parquet')
  const names = a.map((_, i) => (i === 1200 ? 'x' : `${i}`))
  parquetWriteFile({
    filename,
    columnData: [
      { name: 'name', data: names, type: 'STRING' },
      { name: 'target', data: a, type: 'DOUBLE' },
    ],
  })
  const words = train(filename)
  expect([words.status, words.stderr]).toEqual([
    1,
    expect.stringMatching(/column name has 0 in row 0, no number/),
  ])
  const missing = train(filename, { WEFT_TARGET: 'price' })
  expect(missing.stderr).toMatch(/has the columns name, target, no price: set WEFT_TARGET/)
})
