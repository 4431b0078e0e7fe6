// A benchmark of all-reduces as text: a table like nccl-tests' for each contestant, and one that compares. Pure.
import { formatBytes } from '../format-bytes.js'
import { type Comparison, fromTypeScript, type Rates, type ReduceRow } from './figures.js'

const fixed = (value: number | undefined, digits = 2) =>
  value === undefined ? '-' : value.toFixed(value >= 1000 ? 1 : digits)

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  return rows.map((row) => row.map((cell, i) => cell.padStart(widths[i]!)).join('  '))
}

/** Size, count, type, redop, then times, bandwidths and wrong of one contestant: a line a size. */
export function contestantLines(label: string, rows: readonly ReduceRow[]): string[] {
  const head = ['size', 'count', 'type', 'redop', 'eager min', 'time', 'p99']
  head.push('graph min', 'time', 'p99', 'algbw', 'busbw', '#wrong')
  const own = rows.filter((row) => row.label === label)
  const cells = own
    .filter((row) => row.error === undefined)
    .map((row) => [
      String(row.bytes),
      String(row.count),
      row.dtype,
      row.op,
      ...[row.eager, row.graph].flatMap((q) => [fixed(q?.min), fixed(q?.median), fixed(q?.p99)]),
      fixed(row.algGBs),
      fixed(row.busGBs),
      row.wrong === undefined ? 'N/A' : String(row.wrong),
    ])
  const errors = own.flatMap(({ bytes, error }) =>
    error === undefined ? [] : [`  ${formatBytes(bytes)}: ${error}`],
  )
  const table = cells.length > 0 ? columns([head, ...cells]) : []
  return [`# ${label}`, ...table, ...shorten(errors)]
}

/** The same reason at many sizes is said once. */
function shorten(lines: readonly string[]): string[] {
  const reasons = new Map<string, number>()
  const kept = lines.filter((line) => {
    const reason = line.slice(line.indexOf(':'))
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    return reasons.get(reason) === 1
  })
  return kept.map((line) => {
    const more = (reasons.get(line.slice(line.indexOf(':'))) as number) - 1
    return more > 0 ? `${line} (and at ${more} more sizes)` : line
  })
}

const share = (value: number, of: number) => (of > 0 ? `${((100 * value) / of).toFixed(0)} %` : '-')

/** weft beside NCCL: a line a size and way of calling. */
export function comparisonLines(
  comparisons: readonly Comparison[],
  rows: readonly ReduceRow[],
  rates: Rates,
  factor: number,
): string[] {
  const head = ['size', 'called', 'weft us', 'best us', 'by', 'NCCL us', 'by', 'NCCL/weft']
  head.push('NCCL/best', 'bus GB/s', 'of effective', 'of line', 'TypeScript us')
  const effective = Math.max(rates.copy, rates.store)
  const cells = comparisons.map((each) => {
    const bus = (each.bytes / each.weftUs / 1e3) * factor
    const script = rows.find((row) => row.label === fromTypeScript && row.bytes === each.bytes)
    return [
      formatBytes(each.bytes),
      each.way,
      fixed(each.weftUs),
      fixed(each.bestWeftUs),
      each.bestWeft,
      fixed(each.ncclUs),
      each.nccl?.replace('nccl ', '') ?? '-',
      fixed(each.ratio),
      fixed(each.bestRatio),
      fixed(bus, 1),
      share(bus, effective),
      share(bus, rates.line),
      fixed(script?.[each.way]?.median),
    ]
  })
  return cells.length === 0 ? [] : ['# weft beside NCCL', ...columns([head, ...cells])]
}

/** What stands before the tables. */
export function rateLine({ copy, store, line }: Rates): string {
  const told = (rate: number) => (rate > 0 ? `${rate.toFixed(1)} GB/s` : 'not known')
  return (
    `# a direction, both at once: copy engines ${told(copy)}, loads and stores ${told(store)} ` +
    `(measured now; the larger is called effective), line rate ${told(line)}`
  )
}
