// The figures of a benchmark: quantiles, bandwidth as nccl-tests defines it, the comparison with NCCL, and the text
// and plot made of them.
import { expect, test } from 'vitest'
import {
  busFactor,
  compare,
  makeRow,
  parseBytes,
  quantiles,
  sizesBetween,
} from '../../src/cli/bench/figures.js'
import { overlapFigures } from '../../src/cli/bench/overlap.js'
import { plotReduces } from '../../src/cli/bench/plot.js'
import { comparisonLines, contestantLines } from '../../src/cli/bench/report.js'

const facts = { bytes: 1 << 20, elementBytes: 4, dtype: 'f32', ranks: 4 }
const row = (label: string, eagerUs: number[], graphUs: number[], error = '') =>
  makeRow({ ...facts, label, algorithm: label.slice(5), eagerUs, graphUs, wrong: 0, error })

test('quantiles are of the samples themselves', () => {
  expect(quantiles([])).toBeUndefined()
  expect(quantiles([3])).toEqual({ min: 3, median: 3, p99: 3 })
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
  expect(quantiles(hundred)).toEqual({ min: 1, median: 50, p99: 99 })
})

test('bandwidths are those of nccl-tests, of the faster way to call', () => {
  expect(busFactor(2)).toBe(1)
  expect(busFactor(4)).toBe(1.5)
  expect(busFactor(4, 'reduceScatter')).toBe(0.75)
  const { algGBs, busGBs } = row('weft', [40], [20])
  expect(algGBs).toBeCloseTo((1 << 20) / 20e-6 / 1e9, 9)
  expect(busGBs).toBeCloseTo(1.5 * algGBs, 9)
})

test('weft is compared with the fastest of NCCL, and failures take no part', () => {
  const rows = [
    row('weft', [40], [20]),
    row('weft copy-ring', [30], [25]),
    row('nccl plain', [20], [10]),
    row('nccl symmetric', [15], [12]),
    row('nccl registered', [], [], 'no memory'),
    row('weft from TypeScript', [1], [1]),
  ]
  expect(compare(rows)).toMatchObject([
    {
      way: 'eager',
      weftUs: 40,
      bestWeftUs: 30,
      bestWeft: 'copy-ring',
      nccl: 'nccl symmetric',
      ratio: 15 / 40,
    },
    { way: 'graph', weftUs: 20, ncclUs: 10, nccl: 'nccl plain', ratio: 0.5 },
  ])
  const lines = comparisonLines(compare(rows), rows, { copy: 379, store: 366, line: 450 }, 1.5)
  expect(lines[2]).toMatch(
    /1 MiB +eager +40\.00 +30\.00 +copy-ring +15\.00 +symmetric +0\.38 +0\.50/,
  )
  expect(contestantLines('nccl registered', rows).join('\n')).toMatch(/1 MiB: no memory/)
  expect(contestantLines('weft', rows).at(-1)).toMatch(/1048576 +262144 +f32 +sum .* 0$/)
})

test('sizes are whole elements from min to max', () => {
  expect(sizesBetween(8, 100, 2, 4)).toEqual([8, 16, 32, 64])
  expect(sizesBetween(1, 9, 1.5, 4)).toEqual([4, 8])
  expect([parseBytes('8'), parseBytes('64K'), parseBytes('1.5MiB'), parseBytes('8G')]).toEqual([
    8,
    65536,
    1.5 * 2 ** 20,
    2 ** 33,
  ])
  expect([parseBytes('x'), parseBytes('-1'), parseBytes('1.3B')]).toEqual([
    undefined,
    undefined,
    undefined,
  ])
})

test('the plot has a line and a legend for each contestant, also with one size', () => {
  const plot = plotReduces('a <b>', [row('weft', [40], []), row('nccl plain', [], [10])])
  expect(plot.match(/<polyline /g)).toHaveLength(4)
  expect(plot).toContain('a &lt;b&gt;')
  expect(plot).not.toMatch(/NaN|Infinity/)
})

test('processors lost are the share of time that products took longer', () => {
  const alone = { gemm: 1.5, reduce: 0.2 }
  const figures = overlapFigures({ multiprocessors: 132 }, alone, { gemm: 2, reduce: 0.3 })
  expect(figures.gemmSlowdown).toBeCloseTo(4 / 3, 9)
  expect(figures.reduceSlowdown).toBeCloseTo(1.5, 9)
  expect(figures.lostProcessors).toBeCloseTo(33, 9)
})
