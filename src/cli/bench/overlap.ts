// `weft bench overlap`: matrix products on the compute streams beside all-reduces on streams of their own: what each
// loses, by algorithm, and the same beside NCCL.
//
// Products are enqueued first, then reductions, on all devices by this thread. To see what one loses the other lasts
// longer (half as long again); `covered` tells how much of the measured time it really lasted.
import type { Command } from 'commander'
import type { Fabric } from '../../fabric/fabric.js'
import type { ReduceBench } from '../../fabric/reduce-bench.js'
import type { Stream } from '../../fabric/stream.js'
import { UsageError } from '../../native/errors.js'
import type { Tensor } from '../../tensor/tensor.js'
import { deviceHelp } from '../devices.js'
import { formatBytes } from '../format-bytes.js'
import { quantiles } from './figures.js'
import { bytesOf, number, plan } from './flags.js'

interface Flags {
  devices: string
  virtual?: string
  size?: string
  bytes?: string
  rounds?: string
  only?: string
  plugin?: string[]
  nccl?: string
  json?: boolean
}

/** What products and reductions of one contestant lose beside each other. Milliseconds of device time. */
export interface OverlapRow {
  label: string
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

/** The longest time over all devices of some work on some streams, and when it is done. */
interface Span {
  ms(): number
}

const mostReduces = 400
const products = 10
const longer = 1.5

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

async function makeWorkload(fabric: Fabric, bench: ReduceBench, size: number) {
  const { randn } = await import('../../tensor/operators/random.js')
  const { matmul } = await import('../../tensor/generated/functions.js')
  const { noGrad } = await import('../../autograd/no-grad.js')
  const { createStream, currentStream, withStream } = await import('../../fabric/stream.js')
  const { TimedEvent } = await import('../../fabric/timed-event.js')
  const names = fabric.devices.map(({ name }) => name)
  const dtype = fabric.devices[0]?.driver === 'host' ? 'f32' : 'bf16'
  const matrix = (device: string): Tensor => randn([size, size], { device, dtype })
  const factors = names.map((device) => [matrix(device), matrix(device)] as const)
  const sides = names.map((name) => createStream(name))
  const timed = (streams: readonly Stream[], enqueue: () => void): Span => {
    const mark = () =>
      streams.map((each) => withStream(each, () => new TimedEvent(each.device).record()))
    const starts = mark()
    enqueue()
    const stops = mark()
    return { ms: () => Math.max(...stops.map((stop, i) => stop.elapsedMs(starts[i]!))) }
  }
  return {
    multiply: (count: number) =>
      timed(
        names.map((name) => currentStream(name)),
        () => {
          for (let i = 0; i < count; i++) {
            noGrad(() => {
              for (const [a, b] of factors) matmul(a, b).dispose()
            })
          }
        },
      ),
    reduce: (label: string, bytes: number, count: number) =>
      timed(sides, () => bench.start(label, bytes, count, sides)),
    dispose() {
      for (const pair of factors) for (const each of pair) each.dispose()
    },
  }
}
type Workload = Awaited<ReturnType<typeof makeWorkload>>

const median = (list: number[]) => quantiles(list)!.median

async function measureOne(
  fabric: Fabric,
  work: Workload,
  label: string,
  bytes: number,
  rounds: number,
) {
  const repeat = async (run: () => Promise<number>) => {
    const list: number[] = []
    for (let i = 0; i < rounds; i++) list.push(await run())
    return median(list)
  }
  const one = async (span: Span, count: number) => {
    await fabric.synchronize()
    return span.ms() / count
  }
  await one(work.multiply(products), products) // chooses kernels, warms up
  const alone = {
    gemm: await repeat(() => one(work.multiply(products), products)),
    reduce: await repeat(() => one(work.reduce(label, bytes, 4), 4)),
  }
  const covered: number[] = []
  const both = async (multiplies: number, reduces: number, measured: 'gemm' | 'reduce') => {
    const gemm = work.multiply(multiplies)
    const reduce = work.reduce(label, bytes, reduces)
    await fabric.synchronize()
    const times = { gemm: gemm.ms(), reduce: reduce.ms() }
    const other = measured === 'gemm' ? times.reduce : times.gemm
    covered.push(Math.min(1, other / times[measured]))
    return times[measured] / (measured === 'gemm' ? multiplies : reduces)
  }
  const fit = (ms: number) => Math.max(1, Math.min(mostReduces, Math.ceil(ms / alone.reduce)))
  const many = fit(longer * products * alone.gemm)
  const few = fit(products * alone.gemm)
  const multiplies = Math.max(1, Math.ceil((longer * few * alone.reduce) / alone.gemm))
  const beside = {
    gemm: await repeat(() => both(products, many, 'gemm')),
    reduce: await repeat(() => both(multiplies, few, 'reduce')),
  }
  return { alone, beside, covered: Math.min(...covered) }
}

export function overlapLine(row: OverlapRow): string {
  const start = row.label.padEnd(20)
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
  const fabric = await openFabric({ devices: flags.devices, ...virtual })
  const first = fabric.devices[0]!
  if (fabric.devices.length < 2) {
    throw new UsageError(
      `an all-reduce is between devices, and ${first.name} is one: give more with -d`,
    )
  }
  for (const plugin of flags.plugin ?? []) fabric.loadPlugin(plugin)
  const host = first.driver === 'host'
  const size = Math.floor(number('size', flags.size ?? (host ? '256' : '8192'), 16))
  const bytes = bytesOf('bytes', flags.bytes ?? (host ? '256K' : '64M'))
  const rounds = Math.floor(number('rounds', flags.rounds ?? (host ? '3' : '5'), 1))
  const whole = !host && fabric.devices.every((each) => each.virtualIndex < 0)
  const nccl = whole ? findNccl(flags.nccl) : 'NCCL is not measured: it takes whole GPUs'
  const library = typeof nccl === 'string' ? undefined : nccl
  using group = fabric.group()
  const bench = new ReduceBench({
    group,
    maxBytes: bytes,
    dtype: 'f32',
    ...(library && { nccl: library.path }),
  })
  const only = flags.only?.split(',')
  const warm = { bytes, rounds: 1, calls: plan(bytes, host).calls, graphCalls: 0 }
  const found = bench.measure({ ...warm, ...(only && { only }) })
  if (found.length === 0) throw new UsageError(`--only ${flags.only}: nothing is called so`)
  const work = await makeWorkload(fabric, bench, size)
  say(
    `# products of ${size} x ${size} x ${size} beside all-reduces of ${formatBytes(bytes)} f32 on ${group.devices.join(', ')} (${first.model})`,
  )
  say(
    library
      ? `# NCCL ${library.version} at ${library.path}, multicast off (NCCL_NVLS_ENABLE=0)`
      : `# ${nccl}`,
  )
  say(
    `# ms of device time each, medians of ${rounds} rounds; lost: of ${first.multiprocessors} processors; covered: share of the time that the other lasted`,
  )
  const heads = ['gemm', 'beside', 'slow-down', 'lost', 'reduce', 'beside', 'slow-down', 'covered']
  say(`${'by'.padEnd(20)}${heads.map((head) => head.padStart(12)).join('')}${'#wrong'.padStart(8)}`)
  const rows: OverlapRow[] = []
  for (const { label, error } of found) {
    let row: OverlapRow = { label, bytes, error }
    if (error === '') {
      try {
        bench.spoil(label, bytes)
        const { alone, beside, covered } = await measureOne(fabric, work, label, bytes, rounds)
        const figures = overlapFigures(first, alone, beside)
        row = { label, bytes, ...figures, covered, wrong: bench.wrong(label, bytes) }
      } catch (failure) {
        row = { label, bytes, error: (failure as Error).message }
      }
    }
    rows.push(row)
    say(overlapLine(row))
  }
  if (flags.json) {
    const devices = fabric.devices
    say(JSON.stringify({ bench: 'overlap', devices, nccl: library ?? nccl, size, rounds, rows }))
  }
  work.dispose()
  bench.dispose()
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
    .option('--plugin <names...>', 'load plugins, such as ringallreduce')
    .option('--nccl <path>', "NCCL's libnccl.so.2, or off")
    .option('--json', 'end with one JSON object on one line')
    .action(benchOverlap)
}
