// `weft bench p2p`: how fast bytes go between two devices by copy engine, by a kernel's stores and by its bulk copies,
// by size and number of CTAs, one way and both at once, and how long a flag takes. Measured by native/bench.
import type { Command } from 'commander'
import type { PairFigure } from '../../fabric/pair-bench.js'
import { UsageError } from '../../native/errors.js'
import { describeLink, deviceHelp } from '../devices.js'
import { formatBytes } from '../format-bytes.js'
import { quantiles, sizesBetween } from './figures.js'
import { bytesOf, ctasOf, number, plan } from './flags.js'

interface Flags {
  devices: string
  virtual?: string
  min: string
  max?: string
  factor: string
  ctas: string
  rounds?: string
  json?: boolean
}

/** One way at one size; rates are 10⁹ bytes a second and direction, of the medians. */
export interface PairRow {
  bytes: number
  way: string
  ctas: number
  oneUs?: number
  oneGBs?: number
  bothUs?: number
  bothGBs?: number
  wrong?: number
  error?: string
}

export function pairRow(bytes: number, figure: PairFigure): PairRow {
  const { way, ctas, wrong, error } = figure
  if (error !== '') return { bytes, way, ctas, error }
  const one = quantiles(figure.oneUs)!.median
  const both = quantiles(figure.bothUs)!.median
  const rate = (us: number) => bytes / us / 1e3
  const rates = { oneUs: one, oneGBs: rate(one), bothUs: both, bothGBs: rate(both) }
  return { bytes, way, ctas, ...rates, wrong }
}

export function pairLine(row: PairRow): string {
  const name = row.ctas > 0 ? `${row.way}, ${row.ctas} CTAs` : row.way
  const start = `${formatBytes(row.bytes).padStart(9)}  ${name.padEnd(18)}`
  if (row.error !== undefined) return `${start} ${row.error}`
  const cells = [row.oneUs, row.oneGBs, row.bothUs, row.bothGBs].map((value) =>
    value!.toFixed(2).padStart(10),
  )
  return `${start}${cells.join('')}${String(row.wrong).padStart(8)}`
}

async function benchPair(flags: Flags): Promise<void> {
  const { openFabric } = await import('../../fabric/fabric.js')
  const { PairBench } = await import('../../fabric/pair-bench.js')
  const say = (line: string) => void process.stdout.write(`${line}\n`)
  const ctas = ctasOf(flags.ctas)
  const virtual = flags.virtual === undefined ? {} : { virtual: Number(flags.virtual) }
  const fabric = await openFabric({ devices: flags.devices, ...virtual })
  const [from, to] = fabric.devices
  if (from === undefined || to === undefined) {
    throw new UsageError(`a pair is two devices, and ${from?.name} is one: give two with -d`)
  }
  const host = from.driver === 'host'
  const max = bytesOf('max', flags.max ?? (host ? '4M' : '256M'))
  const factor = number('factor', flags.factor, 1.1)
  const sizes = sizesBetween(bytesOf('min', flags.min), max, factor, 16)
  if (sizes.length === 0) throw new UsageError(`no size lies between --min ${flags.min} and --max`)
  const rounds = Math.floor(number('rounds', flags.rounds ?? (host ? '3' : '10'), 1))
  const link = fabric
    .topology()
    .links.find((each) => each.from === from.name && each.to === to.name)
  using bench = new PairBench(from.name, to.name, Math.max(...sizes))
  say(`# ${from.name} to ${to.name} (${from.model})${link ? `: ${describeLink(link)}` : ''}`)
  say(`# medians of ${rounds} rounds; both: both ways at once, GB/s a direction`)
  say(
    `${'size'.padStart(9)}  ${'way'.padEnd(18)}${'one us'.padStart(10)}${'GB/s'.padStart(10)}${'both us'.padStart(10)}${'GB/s'.padStart(10)}${'#wrong'.padStart(8)}`,
  )
  const rows: PairRow[] = []
  for (const bytes of sizes) {
    for (const figure of bench.measure({ bytes, ctas, rounds, calls: plan(bytes, host).calls })) {
      const row = pairRow(bytes, figure)
      rows.push(row)
      say(pairLine(row))
    }
  }
  const flagNs = host ? undefined : bench.flagNs(1000)
  say(
    flagNs === undefined
      ? '# a flag between kernels is not measured: host devices have none'
      : `# a flag of 8 bytes one way: ${flagNs.toFixed(0)} ns (half a round trip, mean of 999)`,
  )
  if (flags.json)
    say(JSON.stringify({ bench: 'p2p', devices: [from, to], link, rounds, rows, flagNs }))
  if (rows.some((row) => (row.wrong ?? 0) > 0)) process.exitCode = 1
}

/** Adds `p2p` to `weft bench`. */
export function pairBench(bench: Command): void {
  bench
    .command('p2p')
    .description('time copies between the first two devices, by way, size and number of CTAs')
    .option('-d, --devices <names>', deviceHelp, 'auto')
    .option('--virtual <count>', 'split each GPU in so many virtual devices')
    .option('--min <bytes>', 'smallest size', '64')
    .option('--max <bytes>', 'largest size; default 256M on GPUs, 4M on host devices')
    .option('--factor <number>', 'from one size to the next', '16')
    .option('--ctas <counts>', 'of the kernels', '1,2,4,8,16,32,64,132')
    .option('--rounds <count>', 'figures a way and size; default 10, on host devices 3')
    .option('--json', 'end with one JSON object on one line')
    .action(benchPair)
}
