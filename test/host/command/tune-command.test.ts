// `weft tune` as a user runs it, on host devices: it measures, keeps its choices, and groups made later go by them
// unless that is switched off; a damaged file stops nobody.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'

const dist = new URL('../../../dist/', import.meta.url)
const command = fileURLToPath(new URL('cli/main.js', dist))
const cache = mkdtempSync(join(tmpdir(), 'weft-tune-'))
afterAll(() => rmSync(cache, { recursive: true }))

function run(args: string[], env: Record<string, string> = {}) {
  return spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: 60_000,
    env: { ...process.env, WEFT_CACHE: cache, WEFT_TUNE: '', ...env },
  })
}

/** Algorithms of a new process's calls, by the event log's counts: all-reduces in place of 1 KiB and 64 KiB + 4. */
const program = `
  const { openFabric, zeros } = await import(${JSON.stringify(new URL('index.js', dist).href)})
  const { options, kind, counts: sizes = [256, 16385], slices = [] } = JSON.parse(process.argv[1])
  const fabric = await openFabric({ devices: 'host:0-1', ...options })
  const group = fabric.group()
  for (const count of sizes) await group.allReduce(group.devices.map((device) => zeros([count], { device })))
  for (const count of slices) {
    const of = (count) => group.devices.map((device) => zeros([count], { device }))
    if (kind === 'reduceScatter') await group.reduceScatter(of(2 * count), of(count))
    if (kind === 'allGather') await group.allGather(of(count), of(2 * count))
  }
  const counts = fabric.snapshot().algorithms.filter(({ calls }) => calls > 0).map(({ name, calls }) => [name, calls])
  console.log(JSON.stringify({ counts: Object.fromEntries(counts), deterministic: fabric.deterministic }))
`
function chosen(options: object = {}, env: Record<string, string> = {}, calls: object = {}) {
  const ended = run(
    ['--input-type=module', '-e', program, JSON.stringify({ options, ...calls })],
    env,
  )
  expect(ended.status, ended.stderr).toBe(0)
  return { ...JSON.parse(ended.stdout), stderr: ended.stderr }
}
const byTable = { counts: { 'copy-oneshot': 1, 'copy-ring': 1 }, deterministic: true }

test('measured choices are kept, used by new groups, and switched off by option and variable', () => {
  const sizes = [
    '--min',
    '1K',
    '--max',
    '64K',
    '--factor',
    '64',
    '--dtypes',
    'f32',
    '--rounds',
    '1',
  ]
  const kinds = ['--kinds', 'all-reduce']
  const ended = run([command, 'tune', '-d', 'host:0-1', ...sizes, ...kinds, '--json'])
  expect(ended.status, ended.stderr).toBe(0)
  const { files, measured } = JSON.parse(ended.stdout)
  expect(measured.map(({ entry }: { entry: { inPlace: boolean } }) => entry.inPlace)).toEqual([
    false,
    true,
  ])
  for (const { entry, figures, faults } of measured) {
    expect(faults).toEqual([])
    expect(entry.ranks).toBe(2)
    for (const { us } of figures) {
      expect(Object.keys(us).sort()).toEqual(['copy-oneshot', 'copy-ring'])
      for (const time of Object.values(us)) expect(time).toBeGreaterThan(0)
    }
  }
  // What was fastest is this machine's affair; that it is followed is shown with a choice of ours.
  const [{ file }] = files
  const kept = JSON.parse(readFileSync(file, 'utf8'))
  expect(kept.entries).toEqual(measured.map(({ entry }: { entry: object }) => entry))
  const inPlace = kept.entries.find((entry: { inPlace: boolean }) => entry.inPlace)
  inPlace.lines = [
    { maxBytes: 32768, algorithms: ['not-loaded', 'copy-ring', 'copy-oneshot'] },
    { maxBytes: null, algorithms: ['copy-ring'] },
  ]
  writeFileSync(file, JSON.stringify(kept))
  expect(chosen()).toMatchObject({ counts: { 'copy-ring': 2 }, deterministic: false })
  expect(chosen({ tune: 'off' })).toMatchObject(byTable)
  expect(chosen({}, { WEFT_TUNE: 'off' })).toMatchObject(byTable)
  expect(chosen({ deterministic: true })).toMatchObject(byTable)
  expect(chosen({ tune: file }, { WEFT_CACHE: '/nowhere' }).counts).toEqual({ 'copy-ring': 2 })
  writeFileSync(file, '{"damaged')
  const damaged = chosen()
  expect(damaged).toMatchObject(byTable)
  expect(damaged.stderr).toMatch(/measured choices are left out: .*weft tune/)
})

test('reduce-scatter and all-gather are measured too, and chosen by the bytes of the longer buffer', () => {
  const few = ['--min', '4K', '--max', '4K', '--rounds', '1', '--dtypes', 'f32']
  const kinds = ['--kinds', 'reduce-scatter,all-gather']
  const ended = run([command, 'tune', '-d', 'host:0-1', ...few, ...kinds, '--json'])
  expect(ended.status, ended.stderr).toBe(0)
  const { files, measured } = JSON.parse(ended.stdout)
  expect(measured.map(({ entry }: { entry: { kind: string } }) => entry.kind)).toEqual([
    'reduceScatter',
    'allGather',
  ])
  const names = measured.map(
    ({ figures, faults }: { figures: { us: object }[]; faults: string[] }) => {
      expect(faults).toEqual([])
      return Object.keys(figures[0]?.us ?? {}).sort()
    },
  )
  expect(names).toEqual([['copy-oneshot', 'copy-ring'], ['copy-ring']])
  // Longer buffers to 8 KiB get one, those above another, whatever was faster.
  const kept = JSON.parse(readFileSync(files[0].file, 'utf8'))
  kept.entries.find(({ kind }: { kind: string }) => kind === 'reduceScatter').lines = [
    { maxBytes: 8192, algorithms: ['copy-oneshot'] },
    { maxBytes: null, algorithms: ['copy-ring'] },
  ]
  writeFileSync(files[0].file, JSON.stringify(kept))
  const calls = { kind: 'reduceScatter', counts: [], slices: [1024, 1025, 2000] }
  expect(chosen({}, {}, calls).counts).toEqual({ 'copy-oneshot': 1, 'copy-ring': 2 })
  const untuned = chosen({ tune: 'off' }, {}, calls)
  expect(untuned.counts).toEqual({ 'copy-oneshot': 3 })
  const wrong = run([command, 'tune', '-d', 'host:0-1', '--kinds', 'broadcast'])
  expect([wrong.status, wrong.stderr]).toEqual([
    2,
    expect.stringMatching(/all-reduce, reduce-scatter, all-gather/),
  ])
})

test('ranks that are not there and unknown dtypes are told in a line', () => {
  const ranks = run([command, 'tune', '-d', 'host:0-1', '--ranks', '3'])
  expect([ranks.status, ranks.stderr]).toEqual([
    2,
    expect.stringMatching(/among 2 to 2 of the devices/),
  ])
  const dtypes = run([command, 'tune', '-d', 'host:0-1', '--dtypes', 'i32'])
  expect(dtypes.stderr).toMatch(/f32, f16, bf16, f64/)
})
