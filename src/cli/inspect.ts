// `weft inspect <snapshot>`: what a snapshot file says, as text, as JSON, or as a Perfetto trace. Needs no
// addon, so it reads files of other machines. main.ts registers it.
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { writeAtomically } from '../checkpoint/atomic-write.js'
import { Snapshot } from '../fabric/snapshot.js'
import { perfettoTrace } from '../inspect/perfetto.js'
import { type InspectSummary, summarize } from '../inspect/summary.js'
import { UsageError } from '../native/errors.js'
import { formatBytes } from './format-bytes.js'

interface InspectFlags {
  json?: boolean
  perfetto?: string
}

const time = (ns: number): string =>
  ns >= 1e6 ? `${(ns / 1e6).toFixed(2)} ms` : `${(ns / 1e3).toFixed(1)} us`

function section(title: string, rows: readonly string[]): string[] {
  return rows.length === 0 ? [] : [title, ...rows.map((row) => `  ${row}`)]
}

/** The text that people read. */
export function summaryLines(s: InspectSummary): string[] {
  const timed = s.logMode === 'timing'
  const lost = [
    s.dropped > 0 ? `${s.dropped} overwritten before they were read` : '',
    s.skipped > 0 ? `${s.skipped} older ones left out` : '',
  ].filter(Boolean)
  return [
    `${s.events} events over ${time(s.spanNs)}, log ${s.logMode}${lost.length ? `; ${lost.join(', ')}` : ''}`,
    ...(timed || s.events === 0
      ? []
      : ["no device times: openFabric({ log: 'timing' }) gives busy times, waits and rates"]),
    ...section('this process must restart', s.poisoned === undefined ? [] : [s.poisoned]),
    ...section('open calls', s.open),
    ...section('aborted groups', s.aborted),
    ...section(
      'streams',
      s.lanes.map(
        (lane) =>
          `${lane.name}: ${lane.events} events` +
          (timed ? `, busy ${time(lane.busyNs)}, waiting ${time(lane.waitNs)}` : ''),
      ),
    ),
    ...section(
      'longest waits',
      s.waits.map(
        ({ lane, on, what, ns }) =>
          `${time(ns)}  ${lane} for ${on ?? 'a record before these events'}${what === undefined ? '' : `, behind ${what}`}`,
      ),
    ),
    ...section(
      'copies between devices',
      s.links.map(
        ({ device, peer, copies, bytes, gbps }) =>
          `${device} with ${peer}: ${copies} copies, ${formatBytes(bytes)}` +
          (gbps === undefined ? '' : `, ${gbps.toFixed(2)} GB/s`),
      ),
    ),
    ...section(
      'communication',
      s.communication.map(
        ({ device, ns, exposedNs }) =>
          `${device}: ${time(ns)}, of which no computation covered ${time(exposedNs)}`,
      ),
    ),
    ...section(
      'arrival at collectives',
      s.arrivals.map(
        ({ device, calls, meanLateNs, last }) =>
          `${device}: ${calls} calls, ${time(meanLateNs)} after the first on average, last in ${last}`,
      ),
    ),
    ...section(
      'memory',
      s.memory.map(
        (m) =>
          `${m.device}: ${formatBytes(m.allocatedBytes)} allocated, ${formatBytes(m.reservedBytes)} reserved, ` +
          `${formatBytes(m.peakReservedBytes)} at most`,
      ),
    ),
    ...section(
      'algorithms',
      s.algorithms.map(
        ({ name, calls, bytes }) => `${name}: ${calls} calls, ${formatBytes(bytes)} a rank`,
      ),
    ),
    ...section(
      'paths since the process began',
      Object.entries(s.counters)
        .filter(([name, count]) => `${name}_bytes` in s.counters && count > 0)
        .map(([name, count]) => `${name}: ${count}, ${formatBytes(s.counters[`${name}_bytes`]!)}`),
    ),
  ]
}

async function readSnapshot(path: string): Promise<Snapshot> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (error) {
    throw new UsageError(`${path} cannot be read: ${(error as Error).message}`, { path })
  }
  return Snapshot.decode(bytes)
}

async function inspect(path: string, flags: InspectFlags): Promise<void> {
  const snapshot = await readSnapshot(path)
  if (flags.perfetto !== undefined) await writeAtomically(flags.perfetto, [perfettoTrace(snapshot)])
  const summary = summarize(snapshot)
  const text = flags.json ? JSON.stringify(summary) : summaryLines(summary).join('\n')
  process.stdout.write(`${text}\n`)
  if (flags.perfetto !== undefined && !flags.json) {
    process.stdout.write(`trace written to ${flags.perfetto}: open it at ui.perfetto.dev\n`)
  }
}

/** Adds `weft inspect` to the program. */
export function inspectCommand(program: Command): void {
  program
    .command('inspect')
    .description('tell what a snapshot file says: streams, waits, copies, open calls, memory')
    .argument(
      '<snapshot>',
      'file of a run (snapshot.bin, flight.bin) or of fabric.snapshot().bytes',
    )
    .option('--json', 'print one JSON object')
    .option('--perfetto <file>', 'also write a trace for ui.perfetto.dev')
    .action(inspect)
}
