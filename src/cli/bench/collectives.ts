// `weft bench allreduce`, `reducescatter`, `allgather`: weft's collective, each algorithm that it has, and NCCL in its
// three buffer modes, by turns in one process; checked, timed eager and in graphs, and called from TypeScript. Timing is native/bench.
import { writeFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import type { Topology } from '../../fabric/fabric.js'
import type { BenchKind } from '../../fabric/reduce-bench.js'
import { UsageError } from '../../native/errors.js'
import { deviceHelp } from '../devices.js'
import { formatBytes } from '../format-bytes.js'
import {
  busFactor,
  compare,
  fromTypeScript,
  makeRow,
  type Rates,
  type ReduceRow,
  sizesBetween,
} from './figures.js'
import { bytesOf, elementBytes, number, plan } from './flags.js'
import { callFromTypeScript } from './from-typescript.js'
import { plotReduces } from './plot.js'
import { comparisonLines, contestantLines, rateLine } from './report.js'

interface Flags {
  devices: string
  virtual?: string
  min: string
  max?: string
  factor: string
  sizes?: string
  dtype: 'f32' | 'f16' | 'bf16' | 'f64'
  rounds?: string
  only?: string
  inPlace?: boolean
  graph: boolean
  plugin?: string[]
  nccl?: string
  json?: boolean
  svg?: string
}

const multicast =
  'multicast (NVLS, in-switch sums) is off for NCCL by NCCL_NVLS_ENABLE=0, and weft has none: figures compare ' +
  'what both do over plain links; with it NCCL can be faster on machines that allow it'

/** The slowest tested pair: a collective over all of them goes no faster. */
export function ratesOf({ links }: Topology): Rates {
  const least = (list: number[]) => (list.length === 0 ? 0 : Math.min(...list))
  const tested = links.flatMap(({ probe }) => (probe === undefined ? [] : [probe]))
  return {
    copy: least(tested.map(({ copy }) => copy.bothGbps / 2)),
    store: least(tested.map(({ kernel }) => kernel.bothGbps / 2)),
    line: least(links.map((link) => link.nominalGbps)),
  }
}

function chosenSizes(
  flags: Flags,
  host: boolean,
  free: number,
  modes: number,
  element: number,
): number[] {
  if (flags.sizes !== undefined) {
    const whole = (kib: string) => {
      const bytes = number('sizes', kib, 1) * 1024
      return bytes - (bytes % element)
    }
    return flags.sizes.split(',').map(whole)
  }
  // Inputs and outputs, the same again for each mode of NCCL's, the tensors of the TypeScript calls, scratch.
  const fits = free > 0 ? Math.floor(free / (2 * modes + 4)) : 2 ** 30
  const asked = flags.max === undefined ? (host ? 2 ** 20 : 2 ** 33) : bytesOf('max', flags.max)
  const min = bytesOf('min', flags.min)
  const sizes = sizesBetween(
    min,
    Math.min(asked, fits),
    number('factor', flags.factor, 1.1),
    element,
  )
  if (sizes.length > 0) return sizes
  throw new UsageError(
    `no size lies between --min ${flags.min} and ${formatBytes(Math.min(asked, fits))}` +
      (fits < asked ? ', the most that memory allows' : ''),
  )
}

async function benchCollective(kind: BenchKind, flags: Flags): Promise<void> {
  const { openFabric } = await import('../../fabric/fabric.js')
  const { freeBytes } = await import('../../fabric/devices.js')
  const { ReduceBench } = await import('../../fabric/reduce-bench.js')
  const { findNccl, ncclEnvironment } = await import('../../fabric/nccl-library.js')
  const say = (line: string) => void process.stdout.write(`${line}\n`)
  const virtual = flags.virtual === undefined ? {} : { virtual: Number(flags.virtual) }
  const plugins = flags.plugin ?? []
  const fabric = await openFabric({ devices: flags.devices, plugins, ...virtual })
  if (fabric.devices.length < 2) {
    throw new UsageError(
      `a collective is between devices, and ${fabric.devices[0]?.name} is one: give more with -d or --virtual`,
    )
  }
  const host = fabric.devices[0]?.driver === 'host'
  const whole = fabric.devices.every((each) => each.virtualIndex < 0)
  const nccl = host
    ? 'NCCL is not measured: it runs on GPUs alone'
    : !whole
      ? 'NCCL is not measured: it takes one rank a GPU, these are parts of one'
      : findNccl(flags.nccl)
  const library = typeof nccl === 'string' ? undefined : nccl
  const topology = await fabric.probe()
  const rates = ratesOf(topology)
  using group = fabric.group()
  const free = Math.min(...fabric.devices.map((each) => freeBytes(each.name)))
  const unit = elementBytes[flags.dtype] * (kind === 'allReduce' ? 1 : group.size)
  const sizes = chosenSizes(flags, host, free, library ? 3 : 1, unit)
  const rounds = Math.floor(number('rounds', flags.rounds ?? (host ? '5' : '20'), 1))
  const dtype = flags.dtype
  const first = fabric.devices[0]!
  say(`# ${group.size} devices: ${group.devices.join(', ')} (${first.model})`)
  say(
    library
      ? `# NCCL ${library.version} at ${library.path}; all ranks from one thread`
      : `# ${nccl}`,
  )
  if (library) {
    // Opening it set NCCL_NVLS_ENABLE, so that variable is told too.
    const variables = Object.entries(ncclEnvironment()).map(([name, value]) => `${name}=${value}`)
    say(`# its environment: ${variables.join(' ')}`)
    say(`# ${multicast}`)
  }
  say(rateLine(rates))
  say(
    kind === 'allReduce'
      ? `# ${dtype}, sum, ${flags.inPlace ? 'in place' : 'out of place'} (from TypeScript in place); us a call over ${rounds} rounds`
      : `# ${dtype}${kind === 'allGather' ? '' : ', sum'}, out of place, sizes of the longer buffer; us a call over ${rounds} rounds`,
  )
  const rows: ReduceRow[] = []
  const bench = new ReduceBench({
    group,
    maxBytes: Math.max(...sizes),
    dtype,
    kind,
    inPlace: flags.inPlace === true,
    ...(library && { nccl: library.path }),
  })
  const only = flags.only === undefined ? undefined : flags.only.split(',')
  for (const bytes of sizes) {
    const each = { rounds, ...plan(bytes, host) }
    if (!flags.graph) each.graphCalls = 0
    const facts = { bytes, elementBytes: elementBytes[dtype], dtype, ranks: group.size, kind }
    for (const found of bench.measure({ bytes, ...each, ...(only && { only }) })) {
      rows.push(makeRow({ ...facts, ...found }))
    }
    if (only === undefined || only.includes(fromTypeScript)) {
      const algorithm = rows.findLast((row) => row.label === 'weft')?.algorithm ?? ''
      const label = fromTypeScript
      try {
        const times = await callFromTypeScript(fabric, group, bytes, dtype, kind, each)
        rows.push(makeRow({ ...facts, label, algorithm, ...times }))
      } catch (error) {
        const reason = (error as Error).message
        rows.push(makeRow({ ...facts, label, algorithm, eagerUs: [], graphUs: [], error: reason }))
      }
    }
    // A run that is cut off leaves what it measured.
    const told = rows
      .filter((row) => row.bytes === bytes && row.error === undefined)
      .map(({ label, eager, graph }) => {
        const times = [eager, graph].map((q) => q?.median.toFixed(1) ?? '-').join('/')
        return `${label} ${times}`
      })
    say(`${formatBytes(bytes)} eager/graph us: ${told.join(', ')}`)
  }
  const labels = [...new Set(rows.map((row) => row.label))]
  for (const label of labels) say(['', ...contestantLines(label, rows)].join('\n'))
  const comparisons = compare(rows)
  say(['', ...comparisonLines(comparisons, rows, rates, busFactor(group.size, kind))].join('\n'))
  if (flags.svg !== undefined) {
    const title = `${titles[kind]}, ${dtype}, ${group.size} x ${first.model}`
    writeFileSync(flags.svg, plotReduces(title, rows))
    say(`plot written to ${flags.svg}`)
  }
  const wrong = rows.reduce((sum, row) => sum + (row.wrong ?? 0), 0)
  say(`# wrong elements: ${wrong}`)
  if (flags.json) {
    say(
      JSON.stringify({
        bench: kind.toLowerCase(),
        devices: fabric.devices,
        nccl: library
          ? { ...library, multicast: false, environment: ncclEnvironment() }
          : { reason: nccl },
        plugins: fabric.plugins(),
        rates,
        inPlace: flags.inPlace === true,
        rounds,
        rows,
        comparisons,
      }),
    )
  }
  bench.dispose()
  if (wrong > 0) process.exitCode = 1
}

const titles = {
  allReduce: 'all-reduce',
  reduceScatter: 'reduce-scatter',
  allGather: 'all-gather',
} as const

/** Adds `allreduce`, `reducescatter` and `allgather` to `weft bench`. */
export function collectiveBenches(bench: Command): void {
  for (const kind of ['allReduce', 'reduceScatter', 'allGather'] as const) addBench(bench, kind)
}

function addBench(bench: Command, kind: BenchKind): void {
  const command = bench
    .command(kind.toLowerCase())
    .description(`time ${titles[kind]}s of every algorithm beside NCCL, on the same buffers`)
    .option('-d, --devices <names>', deviceHelp, 'auto')
    .option('--virtual <count>', 'split each GPU in so many virtual devices')
    .option('--min <bytes>', 'smallest size a rank, of its longer buffer', '8')
    .option(
      '--max <bytes>',
      'largest size; default 8G on GPUs as memory allows, 1M on host devices',
    )
    .option('--factor <number>', 'from one size to the next', '2')
    .option('--sizes <KiB,...>', 'these sizes, in KiB')
    .addOption(
      new Option('--dtype <name>', 'of the elements')
        .choices(Object.keys(elementBytes))
        .default('f32'),
    )
    .option('--rounds <count>', 'figures a contestant and size; default 20, on host devices 5')
    .option('--only <labels>', "contestants, such as 'weft,weft copy-ring,nccl plain'")
    .option('--no-graph', 'leave captured graphs out')
    .option('--plugin <names...>', 'load plugins, such as ringallreduce')
    .option(
      '--nccl <path>',
      "NCCL's libnccl.so.2, or off; default WEFT_NCCL, then the usual places",
    )
    .option('--json', 'end with one JSON object on one line')
    .option('--svg <file>', 'write a plot of latency and bandwidth')
    .action((flags: Flags) => benchCollective(kind, flags))
  if (kind === 'allReduce') command.option('--in-place', 'outputs are the inputs')
}
