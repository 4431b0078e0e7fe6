// `weft bench overlap`: matrix products on the compute streams beside all-reduces on streams of their own: what each
// loses, by algorithm, and the same beside NCCL.
// The group's multiprocessors bound what algorithms in kernels take of the products' (--ctas).
import type { Command } from 'commander'
import { UsageError } from '../../native/errors.js'
import { deviceHelp } from '../devices.js'
import { formatBytes } from '../format-bytes.js'
import { bytesOf, ctasOf, number, plan } from './flags.js'
import { makeOverlapWork, measureOverlap } from './overlap-measure.js'

interface Flags {
  devices: string
  virtual?: string
  size?: string
  bytes?: string
  rounds?: string
  only?: string
  ctas?: string
  plugin?: string[]
  nccl?: string
  json?: boolean
}

/** What products and reductions of one contestant lose beside each other. Milliseconds of device time. */
export interface OverlapRow {
  label: string
  /** Multiprocessors that the group's kernels may fill; as many as they take when missing. */
  ctas?: number
  bytes: number
  /** One product alone and beside reductions. */
  gemmMs?: number
  gemmBesideMs?: number
  gemmSlowdown?: number
  /** SMs whose work the products lost: all of them, times the share of time. */
  lostProcessors?: number
  /** One reduction alone and beside products. */
  reduceMs?: number
  reduceBesideMs?: number
  reduceSlowdown?: number
  /** The smaller of both: 1 when what was measured was never alone. */
  covered?: number
  wrong?: number
  error?: string
}

export const overlapFigures = (
  { multiprocessors }: { multiprocessors: number },
  alone: { gemm: number; reduce: number },
  beside: { gemm: number; reduce: number },
) => ({
  gemmMs: alone.gemm,
  gemmBesideMs: beside.gemm,
  gemmSlowdown: beside.gemm / alone.gemm,
  lostProcessors: multiprocessors * (1 - alone.gemm / beside.gemm),
  reduceMs: alone.reduce,
  reduceBesideMs: beside.reduce,
  reduceSlowdown: beside.reduce / alone.reduce,
})

/** Whether a limit on processors says anything about it; weft's own choice may be copies. */
const inKernels = (label: string) =>
  !(label === 'weft' || label.startsWith('weft copy-') || label.startsWith('nccl'))

const labelOf = ({ label, ctas }: OverlapRow) => (ctas === undefined ? label : `${label} / ${ctas}`)

export function overlapLine(row: OverlapRow): string {
  const start = labelOf(row).padEnd(28)
  if (row.error !== undefined) return `${start} ${row.error}`
  const cells = [row.gemmMs, row.gemmBesideMs, row.gemmSlowdown, row.lostProcessors]
  cells.push(row.reduceMs, row.reduceBesideMs, row.reduceSlowdown, row.covered)
  return `${start}${cells.map((value) => value!.toFixed(3).padStart(12)).join('')}${String(row.wrong).padStart(8)}`
}

async function benchOverlap(flags: Flags): Promise<void> {
  const { openFabric } = await import('../../fabric/fabric.js')
  const { ReduceBench } = await import('../../fabric/reduce-bench.js')
  const { findNccl } = await import('../../fabric/nccl-library.js')
  const say = (line: string) => void process.stdout.write(`${line}\n`)
  const virtual = flags.virtual === undefined ? {} : { virtual: Number(flags.virtual) }
  const plugins = flags.plugin ?? []
  const fabric = await openFabric({ devices: flags.devices, plugins, ...virtual })
  const first = fabric.devices[0]!
  if (fabric.devices.length < 2) {
    throw new UsageError(
      `an all-reduce is between devices, and ${first.name} is one: give more with -d`,
    )
  }
  const host = first.driver === 'host'
  const size = Math.floor(number('size', flags.size ?? (host ? '256' : '8192'), 16))
  const bytes = bytesOf('bytes', flags.bytes ?? (host ? '256K' : '64M'))
  const rounds = Math.floor(number('rounds', flags.rounds ?? (host ? '3' : '5'), 1))
  const limits = flags.ctas === undefined ? [] : ctasOf(flags.ctas)
  const whole = !host && fabric.devices.every((each) => each.virtualIndex < 0)
  const nccl = whole ? findNccl(flags.nccl) : 'NCCL is not measured: it takes whole GPUs'
  const library = typeof nccl === 'string' ? undefined : nccl
  const work = await makeOverlapWork(fabric, size)
  say(
    `# products of ${size} x ${size} x ${size} beside all-reduces of ${formatBytes(bytes)} f32 on ${fabric.devices.map(({ name }) => name).join(', ')} (${first.model})`,
  )
  say(
    library
      ? `# NCCL ${library.version} at ${library.path}, multicast off (NCCL_NVLS_ENABLE=0)`
      : `# ${nccl}`,
  )
  say(
    `# ms of device time each, medians of ${rounds} rounds; lost: of ${first.multiprocessors} processors; covered: share of the time that the other lasted`,
  )
  if (limits.length > 0) {
    say('# name / n: by a group whose kernels fill at most n processors of a device')
  }
  const heads = ['gemm', 'beside', 'slow-down', 'lost', 'reduce', 'beside', 'slow-down', 'covered']
  say(`${'by'.padEnd(28)}${heads.map((head) => head.padStart(12)).join('')}${'#wrong'.padStart(8)}`)
  const rows: OverlapRow[] = []
  for (const ctas of [undefined, ...limits]) {
    using group = fabric.group(undefined, ctas === undefined ? {} : { multiprocessors: ctas })
    using bench = new ReduceBench({
      ...{ group, maxBytes: bytes, dtype: 'f32' as const },
      ...(library && ctas === undefined && { nccl: library.path }),
    })
    const only = flags.only?.split(',')
    const warm = { bytes, rounds: 1, calls: plan(bytes, host).calls, graphCalls: 0 }
    const found = bench.measure({ ...warm, ...(only && { only }) })
    if (found.length === 0 && ctas === undefined) {
      throw new UsageError(`--only ${flags.only}: nothing is called so`)
    }
    for (const { label, error } of found) {
      // Copies take no processors: a limit says nothing about them.
      if (ctas !== undefined && !inKernels(label)) continue
      const called = { label, bytes, ...(ctas === undefined ? {} : { ctas }) }
      let row: OverlapRow = { ...called, error }
      if (error === '') {
        try {
          bench.spoil(label, bytes)
          const times = await measureOverlap(fabric, work, bench, label, bytes, rounds)
          const figures = overlapFigures(first, times.alone, times.beside)
          const wrong = bench.wrong(label, bytes)
          row = { ...called, ...figures, covered: times.covered, wrong }
        } catch (failure) {
          row = { ...called, error: (failure as Error).message }
        }
      }
      rows.push(row)
      say(overlapLine(row))
    }
  }
  if (flags.json) {
    const devices = fabric.devices
    say(JSON.stringify({ bench: 'overlap', devices, nccl: library ?? nccl, size, rounds, rows }))
  }
  work.dispose()
  if (rows.some((row) => (row.wrong ?? 0) > 0)) process.exitCode = 1
}

/** Adds `overlap` to `weft bench`. */
export function overlapBench(bench: Command): void {
  bench
    .command('overlap')
    .description('time matrix products and all-reduces beside each other')
    .option('-d, --devices <names>', deviceHelp, 'auto')
    .option('--virtual <count>', 'split each GPU in so many virtual devices')
    .option(
      '--size <n>',
      'products of n x n matrices; default 8192 in bf16, on host devices 256 in f32',
    )
    .option('--bytes <bytes>', 'of an all-reduce; default 64M, on host devices 256K')
    .option(
      '--rounds <count>',
      'figures of which the median is shown; default 5, on host devices 3',
    )
    .option('--only <labels>', "contestants, such as 'weft copy-ring,nccl plain'")
    .option('--ctas <counts>', 'again with kernels on so many processors at most: 8,16,32')
    .option('--plugin <names...>', 'load plugins, such as ringallreduce')
    .option('--nccl <path>', "NCCL's libnccl.so.2, or off")
    .option('--json', 'end with one JSON object on one line')
    .action(benchOverlap)
}
