// `weft bench allreduce`, `reducescatter` and `allgather` as a user runs them, on host devices: results are checked, the last line is one JSON object,
// the plot is written, and what cannot be measured is said.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { ScalingFigures } from '../../../src/cli/bench/scaling-table.js'
import { compilePlugin, compilingTest, fixture } from '../fabric/compiled-plugin.js'

const command = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))

function bench(...args: string[]) {
  const ended = spawnSync(process.execPath, [command, 'bench', ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { ...ended, lines: ended.stdout.trimEnd().split('\n') }
}

test('every algorithm of weft is checked and timed at every size, eager and in a graph', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'))
  const svg = join(folder, 'plot.svg')
  const sizes = ['--min', '8', '--max', '64K', '--factor', '8192']
  const ended = bench(
    'allreduce',
    '-d',
    'host:0-2',
    ...sizes,
    '--rounds',
    '2',
    '--json',
    '--svg',
    svg,
  )
  expect(ended.stderr).toBe('')
  expect(ended.status).toBe(0)
  const found = JSON.parse(ended.lines.at(-1) as string)
  const labels = ['weft', 'weft copy-ring', 'weft copy-oneshot', 'weft from TypeScript']
  for (const bytes of [8, 65536]) {
    const rows = found.rows.filter((row: { bytes: number }) => row.bytes === bytes)
    expect(rows.map((row: { label: string }) => row.label)).toEqual(labels)
    for (const row of rows) {
      expect(row.error).toBeUndefined()
      expect(row.count).toBe(bytes / 4)
      expect(row.eager.min).toBeGreaterThan(0)
      expect(row.graph.p99).toBeGreaterThanOrEqual(row.graph.median)
      if (row.label !== 'weft from TypeScript') expect(row.wrong).toBe(0)
    }
  }
  expect(found.nccl.reason).toMatch(/runs on GPUs alone/)
  expect(found.comparisons.map((each: { way: string }) => each.way)).toEqual([
    ...['eager', 'graph', 'eager', 'graph'],
  ])
  expect(ended.stdout).toMatch(/size +count +type +redop .*algbw +busbw +#wrong/)
  const plot = readFileSync(svg, 'utf8')
  for (const label of labels) expect(plot).toContain(`>${label}<`)
  rmSync(folder, { recursive: true })
})

test('one device, a size that is none and an unknown dtype are told in a line', () => {
  expect(bench('allreduce', '-d', 'host:0').stderr).toMatch(/between devices/)
  const size = bench('allreduce', '-d', 'host:0-1', '--max', 'much')
  expect(size.status).toBe(2)
  expect(size.stderr).toMatch(/--max "much": give a size such as/)
  expect(bench('allreduce', '-d', 'host:0-1', '--dtype', 'f8').status).toBe(2)
})

test('a pair of devices: each way is checked and timed one way and both ways', () => {
  const args = ['-d', 'host:0-1', '--min', '64', '--max', '1M', '--factor', '128', '--rounds', '2']
  const ended = bench('p2p', ...args, '--json')
  expect(ended.status, ended.stderr).toBe(0)
  const { rows, flagNs } = JSON.parse(ended.lines.at(-1) as string)
  expect(rows.map(({ bytes, way }: { bytes: number; way: string }) => [bytes, way])).toEqual([
    [64, 'copy'],
    [64, 'kernel copy'],
    [8192, 'copy'],
    [8192, 'kernel copy'],
    [1048576, 'copy'],
    [1048576, 'kernel copy'],
  ])
  for (const row of rows) {
    expect(row.wrong).toBe(0)
    expect(row.oneGBs).toBeCloseTo(row.bytes / row.oneUs / 1e3, 6)
    expect(row.bothUs).toBeGreaterThan(0)
  }
  expect(flagNs).toBeUndefined()
  expect(bench('p2p', '-d', 'host:0').stderr).toMatch(/a pair is two devices/)
  expect(bench('p2p', '-d', 'host:0-1', '--ctas', '0').stderr).toMatch(/--ctas "0": give counts/)
})

test('products and reductions beside each other: what each loses, with right sums', () => {
  const args = ['-d', 'host:0-1', '--size', '128', '--bytes', '64K', '--rounds', '2', '--json']
  const ended = bench('overlap', ...args)
  expect(ended.status, ended.stderr).toBe(0)
  const { rows } = JSON.parse(ended.lines.at(-1) as string)
  const labels = rows.map(({ label }: { label: string }) => label)
  expect(labels).toEqual(['weft', 'weft copy-ring', 'weft copy-oneshot'])
  for (const row of rows) {
    expect(row.error).toBeUndefined()
    expect(row.wrong).toBe(0)
    expect(row.gemmSlowdown).toBeCloseTo(row.gemmBesideMs / row.gemmMs, 9)
    expect(row.reduceSlowdown).toBeCloseTo(row.reduceBesideMs / row.reduceMs, 9)
    expect(row.covered).toBeGreaterThan(0)
  }
  expect(bench('overlap', '-d', 'host:0').stderr).toMatch(/between devices/)
  const unknown = bench('overlap', '-d', 'host:0-1', '--only', 'nobody')
  expect([unknown.status, unknown.stderr]).toEqual([
    2,
    expect.stringMatching(/nothing is called so/),
  ])
})

compilingTest('algorithms in kernels are measured again on so many processors at most', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-overlap-'))
  const plugin = compilePlugin(folder, fixture('rank_sum.c'))
  const args = ['-d', 'host:0-1', '--size', '64', '--bytes', '16K', '--rounds', '1', '--json']
  const ended = bench('overlap', ...args, '--plugin', plugin, '--ctas', '1,2')
  rmSync(folder, { recursive: true })
  expect(ended.status, ended.stderr).toBe(0)
  const { rows } = JSON.parse(ended.lines.at(-1) as string)
  const limited = rows.filter(({ ctas }: { ctas?: number }) => ctas !== undefined)
  expect(limited.map((row: { label: string; ctas: number }) => [row.label, row.ctas])).toEqual([
    ['weft rank-sum', 1],
    ['weft rank-sum', 2],
  ])
  for (const row of limited) expect([row.error, row.wrong]).toEqual([undefined, 0])
  expect(ended.stdout).toMatch(/^weft rank-sum \/ 2 /m)
  expect(bench('overlap', '-d', 'host:0-1', '--ctas', '0').stderr).toMatch(
    /--ctas "0": give counts/,
  )
})

test('scaling: steps on one device and on two, weak and strong, beside the lines of a peer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-scaling-'))
  const peer = join(folder, 'peer.jsonl')
  writeFileSync(
    peer,
    '{"work":"regression","mode":"compile","gpus":2,"ms":1000,"scaling":"weak"}\n',
  )
  const task = fileURLToPath(new URL('../tasks/regression.mjs', import.meta.url))
  const args = ['-d', 'host:0-1', '--seconds', '0.05', '--warmup', '8', '--json']
  const ended = bench('scaling', task, ...args, '--beside', peer)
  rmSync(folder, { recursive: true })
  expect(ended.status, ended.stderr).toBe(0)
  const { rows } = JSON.parse(ended.lines.at(-1) as string)
  const about = rows.map((row: ScalingFigures) => [row.devices, row.scaling, row.mode])
  expect(about).toEqual([
    [1, 'weak', 'eager'],
    [1, 'weak', 'graph'],
    [2, 'weak', 'eager'],
    [2, 'weak', 'graph'],
    [2, 'strong', 'eager'],
    [2, 'strong', 'graph'],
  ])
  const batch = rows[0].batchSize
  for (const row of rows as ScalingFigures[]) {
    expect(row.batchSize).toBe(row.scaling === 'strong' ? batch / 2 : batch)
    expect([row.error, row.equal]).toEqual([undefined, true])
    expect(row.perSecond).toBeCloseTo((row.batchSize * row.devices * 1000) / row.ms, 6)
    expect(row.exposedMs !== undefined).toBe(row.devices === 2 && row.mode === 'eager')
    expect(row.ratio).toBe(row.devices === 2 && row.scaling === 'weak' ? row.ms / 1000 : undefined)
  }
  const many = bench('scaling', task, '-d', 'host:0', '--counts', '1,2')
  expect([many.status, many.stderr]).toEqual([2, expect.stringMatching(/there are only 1 devices/)])
  expect(bench('scaling', task, '--modes', 'fast').stderr).toMatch(/choose from eager, graph/)
})

test.each(['reducescatter', 'allgather'])(
  '%s is checked and timed beside every algorithm',
  (kind) => {
    const sizes = ['--sizes', '1,48', '--rounds', '2', '--json']
    const ended = bench(kind, '-d', 'host:0-2', ...sizes)
    expect(ended.stderr).toBe('')
    expect(ended.status).toBe(0)
    const { rows, ...found } = JSON.parse(ended.lines.at(-1) as string)
    expect(found.bench).toBe(kind)
    // Sizes are of the longer buffer: whole slices of three ranks.
    expect([...new Set(rows.map((row: { bytes: number }) => row.bytes))]).toEqual([1020, 49152])
    for (const row of rows) {
      expect(row.error).toBeUndefined()
      expect(row.count).toBe(row.bytes / 4 / 3)
      expect(row.op).toBe(kind === 'allgather' ? 'none' : 'sum')
      if (row.label !== 'weft from TypeScript') expect(row.wrong).toBe(0)
    }
    expect(rows.map((row: { label: string }) => row.label)).toContain('weft copy-ring')
    expect(bench(kind, '--in-place').stderr).toMatch(/unknown option/)
  },
)
