// examples/multigpu/arrow.ts: an Arrow file of several record batches and types, and a stream, become a dataset that two
// devices learn; what is wrong with a file is said by column.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Table, tableFromArrays, tableToIPC, vectorFromArray } from 'apache-arrow'
import { afterAll, expect, test } from 'vitest'
import { data } from 'weft'

const folder = mkdtempSync(join(tmpdir(), 'weft-arrow-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = (of: string) => fileURLToPath(new URL(`../../../${of}`, import.meta.url))

function train(table: Table, format: 'file' | 'stream', environment: Record<string, string> = {}) {
  const file = join(folder, 'houses.arrow')
  writeFileSync(file, tableToIPC(table, format))
  const run = ['--devices', 'host:0-1', '--no-run', '--json', '--seed', '1']
  return spawnSync(
    process.execPath,
    [path('dist/cli/main.js'), 'train', path('examples/multigpu/arrow.ts'), ...run],
    {
      ...{ encoding: 'utf8', timeout: 100_000, cwd: path('.') },
      env: { ...process.env, WEFT_ARROW: file, ...environment },
    },
  )
}

const rows = 2500
const next = data.randomStream(5)
const uniform = () => next() / 2 ** 31 - 1
const a = Float64Array.from({ length: rows }, uniform)
const rooms = BigInt64Array.from({ length: rows }, () => BigInt(next() % 100))
const price = Float32Array.from(a, (value, i) => 3 * value * value - Number(rooms[i]) / 50)
const columns = { a, rooms, price }

/** The table in record batches of `size` rows. */
function inBatches(size: number): Table {
  const batches = Array.from({ length: Math.ceil(rows / size) }, (_, batch) => {
    const [from, to] = [batch * size, (batch + 1) * size]
    return tableFromArrays({
      a: a.slice(from, to),
      rooms: rooms.slice(from, to),
      price: price.slice(from, to),
    })
  })
  return new Table(batches.flatMap(({ batches }) => batches))
}

test.each(['file', 'stream'] as const)(
  'columns of several record batches and types are learnt from a %s',
  (format) => {
    const { stdout, stderr, status } = train(inBatches(700), format, { WEFT_TARGET: 'price' })
    expect(status, stderr).toBe(0)
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({ unit: 'rows', replicasEqual: true })
    // 2250 rows of training, 128 a step, 3 epochs; of a variance of 1 a tenth is left.
    expect(result.steps).toBe(3 * 17)
    expect(result.metrics.error).toBeLessThan(0.1)
  },
)

test('a column that is missing, holds no numbers or lacks some is named', () => {
  const words = train(tableFromArrays({ ...columns, name: Array.from(a, String) }), 'file', {
    WEFT_TARGET: 'price',
  })
  expect([words.status, words.stderr]).toEqual([
    2,
    expect.stringMatching(/column name is Dictionary<.*>, no numbers/),
  ])
  const holes = vectorFromArray(Array.from(a, (value, i) => (i % 1000 === 7 ? null : value)))
  const lacking = train(new Table({ a: vectorFromArray(a), target: holes }), 'file')
  expect(lacking.stderr).toMatch(/column target lacks 3 values/)
  expect(train(tableFromArrays(columns), 'file').stderr).toMatch(
    /has the columns a, rooms, price, no target: set WEFT_TARGET/,
  )
  expect(train(tableFromArrays({ target: a }), 'file').stderr).toMatch(/has no column but target/)
})
