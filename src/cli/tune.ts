// `weft tune`: measures which algorithm an all-reduce, a reduce-scatter or an all-gather should get on this machine
// and keeps it; groups that are made later go by it. The measuring is src/fabric/tune.ts.
import type { Command } from 'commander'
import type { ReduceEntry, SizeFigures, TunedKind } from '../fabric/reduce-choices.js'
import { UsageError } from '../native/errors.js'
import type { DType } from '../tensor/dtype.js'
import { sizesBetween } from './bench/figures.js'
import { bytesOf, elementBytes, number, plan } from './bench/flags.js'
import { deviceHelp } from './devices.js'
import { formatBytes } from './format-bytes.js'

interface TuneFlags {
  devices: string
  virtual?: string
  ranks?: string
  kinds: string
  dtypes: string
  min: string
  max?: string
  factor: string
  rounds?: string
  plugin?: string[]
  json?: boolean
}

type Tunable = keyof typeof elementBytes

function ranksOf(flag: string | undefined, devices: number): number[] {
  const powers = [2, 4, 8].filter((ranks) => ranks < devices)
  const ranks = flag === undefined ? [...powers, devices] : flag.split(',').map(Number)
  const wrong = ranks.find((each) => !Number.isInteger(each) || each < 2 || each > devices)
  if (wrong === undefined) return ranks
  throw new UsageError(
    `--ranks ${flag ?? devices}: all-reduces are among 2 to ${devices} of the devices; more are opened with -d`,
  )
}

function dtypesOf(flag: string): Tunable[] {
  const names = flag.split(',')
  const wrong = names.find((name) => !(name in elementBytes))
  if (wrong === undefined) return names as Tunable[]
  const known = Object.keys(elementBytes).join(', ')
  throw new UsageError(`--dtypes ${JSON.stringify(wrong)}: those that can be checked are ${known}`)
}

const kindNames: Record<string, TunedKind> = {
  'all-reduce': 'allReduce',
  'reduce-scatter': 'reduceScatter',
  'all-gather': 'allGather',
}

function kindsOf(flag: string): TunedKind[] {
  return flag.split(',').map((name) => {
    const kind = kindNames[name]
    if (kind !== undefined) return kind
    const known = Object.keys(kindNames).join(', ')
    throw new UsageError(`--kinds ${JSON.stringify(name)}: those that are measured are ${known}`)
  })
}

/** 'all-reduce, 2 ranks, f32, in place: up to 64 KiB copy-oneshot, above copy-ring'. */
export function entryLine({ kind, ranks, dtype, inPlace, lines }: ReduceEntry): string {
  const winners = lines.filter(({ algorithms }, i) => algorithms[0] !== lines[i + 1]?.algorithms[0])
  const parts = winners.map(({ maxBytes, algorithms }, i) => {
    const limit =
      maxBytes !== null ? `up to ${formatBytes(maxBytes)} ` : i === 0 ? 'always ' : 'above '
    return limit + algorithms[0]
  })
  const name = Object.keys(kindNames).find((each) => kindNames[each] === kind)
  const place = inPlace ? 'in place' : 'out of place'
  return `${name}, ${ranks} ranks, ${dtype}, ${place}: ${parts.join(', ') || 'no algorithm works'}`
}

async function runTune(flags: TuneFlags): Promise<void> {
  const { openFabric } = await import('../fabric/fabric.js')
  const { tune } = await import('../fabric/tune.js')
  const dtypes = dtypesOf(flags.dtypes)
  const kinds = kindsOf(flags.kinds)
  const virtual = flags.virtual === undefined ? {} : { virtual: Number(flags.virtual) }
  const plugins = flags.plugin ?? []
  const fabric = await openFabric({ devices: flags.devices, plugins, tune: 'off', ...virtual })
  const host = fabric.devices[0]?.driver === 'host'
  const ranks = ranksOf(flags.ranks, fabric.devices.length)
  const max = bytesOf('max', flags.max ?? (host ? '1M' : '256M'))
  const element = Math.max(...dtypes.map((name) => elementBytes[name]))
  const factor = number('factor', flags.factor, 1.1)
  const sizes = sizesBetween(bytesOf('min', flags.min), max, factor, element)
  if (sizes.length === 0) {
    throw new UsageError(`no size lies between --min ${flags.min} and --max ${formatBytes(max)}`)
  }
  const say = (line: string) => {
    if (!flags.json) process.stdout.write(`${line}\n`)
  }
  const measured: { entry: ReduceEntry; figures: SizeFigures[]; faults: string[] }[] = []
  const files = await tune(fabric, {
    kinds,
    ranks,
    dtypes: dtypes as DType[],
    sizes,
    rounds: Math.floor(number('rounds', flags.rounds ?? (host ? '3' : '7'), 1)),
    calls: (bytes) => plan(bytes, host),
    onEntry(entry, figures, faults) {
      measured.push({ entry, figures, faults })
      say(entryLine(entry))
      for (const fault of faults) say(`  left out: ${fault}`)
    },
  })
  for (const { file } of files) say(`kept in ${file}; WEFT_TUNE=off leaves it out`)
  if (flags.json) {
    const kept = files.map(({ file, choices }) => ({ file, machine: choices.machine }))
    process.stdout.write(`${JSON.stringify({ files: kept, measured })}\n`)
  }
}

/** Adds `weft tune` to the program. */
export function tuneCommand(program: Command): void {
  program
    .command('tune')
    .description('measure which algorithms collectives should get on this machine, and keep them')
    .option('-d, --devices <names>', deviceHelp, 'auto')
    .option('--virtual <count>', 'split each GPU in so many virtual devices')
    .option('--ranks <counts>', 'numbers of devices, such as 2,4; default 2, 4, 8 and all')
    .option(
      '--kinds <names>',
      'of all-reduce, reduce-scatter, all-gather',
      'all-reduce,reduce-scatter,all-gather',
    )
    .option('--dtypes <names>', 'of f32, f16, bf16, f64', 'f32,bf16')
    .option('--min <bytes>', 'smallest size a rank, of its longer buffer', '1K')
    .option('--max <bytes>', 'largest size; default 256M on GPUs, 1M on host devices')
    .option('--factor <number>', 'from one size to the next', '2')
    .option('--rounds <count>', 'figures an algorithm and size; default 7, on host devices 3')
    .option('--plugin <names...>', 'load plugins, such as ringallreduce')
    .option('--json', 'print one JSON object with all figures')
    .action(runTune)
}
