// `weft inspect <snapshot>`: what a snapshot file says, as text, as JSON, or as a Perfetto trace. Needs no
// addon, so it reads files of other machines. main.ts registers it.
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { writeAtomically } from '../checkpoint/atomic-write.js'
import { Snapshot } from '../fabric/snapshot.js'
import { perfettoTrace } from '../inspect/perfetto.js'
import type { DeviceStep, StepSummary } from '../inspect/steps.js'
import { type InspectSummary, summarize } from '../inspect/summary.js'
import { UsageError } from '../native/errors.js'
import { formatBytes } from './format-bytes.js'

/** So many steps have a line of their own. */
const newestSteps = 8

interface InspectFlags {
  json?: boolean
  perfetto?: string
}

const time = (ns: number): string =>
  ns >= 1e6 ? `${(ns / 1e6).toFixed(2)} ms` : `${(ns / 1e3).toFixed(1)} us`

function section(title: string, rows: readonly string[]): string[] {
  return rows.length === 0 ? [] : [title, ...rows.map((row) => `  ${row}`)]
}

/** Of a step: the slowest device's time, exposed communication by device, lateness by device. */
function stepLine({ step, devices }: StepSummary): string {
  const exposed = devices.flatMap((d) => (d.exposedNs === undefined ? [] : time(d.exposedNs)))
  const late = devices.flatMap((d) => (d.calls === 0 ? [] : [`${d.device} ${time(d.meanLateNs)}`]))
  return [
    `step ${step}: ${time(Math.max(...devices.map((d) => d.ns)))}`,
    ...(exposed.length > 0 ? [`exposed communication ${exposed.join(' | ')}`] : []),
    ...(late.length > 0 ? [`late ${late.join(' | ')}`] : []),
  ].join(', ')
}

/** Means by device, then the newest steps one by one. */
function stepLines(steps: readonly StepSummary[]): string[] {
  const rows = new Map<string, DeviceStep[]>()
  for (const each of steps.flatMap((step) => step.devices)) {
    rows.set(each.device, [...(rows.get(each.device) ?? []), each])
  }
  const mean = (list: DeviceStep[], of: (step: DeviceStep) => number) =>
    time(list.reduce((sum, each) => sum + of(each), 0) / list.length)
  const left = steps.length - newestSteps
  return section('steps', [
    ...[...rows].map(([device, list]) => {
      const timed = list.filter((each) => each.exposedNs !== undefined)
      const communication =
        timed.length === 0
          ? ''
          : `, communication ${mean(timed, (each) => each.communicationNs!)}, of which no computation covered ` +
            mean(timed, (each) => each.exposedNs!)
      return `${device}: ${list.length} steps of ${mean(list, (each) => each.ns)} on average${communication}`
    }),
    ...steps.slice(-newestSteps).map(stepLine),
    ...(left > 0 ? [`(${left} earlier ones: --json)`] : []),
  ])
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
    ...section('pairs that failed their test: copies go through the host', s.unused),
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
      'operators',
      s.operators.map(
        ({ name, calls, ns }) => `${name}: ${calls} times${timed ? `, ${time(ns)}` : ''}`,
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
      'tags',
      s.tags.map(
        ({ tag, records, busyNs }) =>
          `${tag}: ${records} records${timed ? `, busy ${time(busyNs)}` : ''}`,
      ),
    ),
    ...stepLines(s.steps),
    ...section(
      'arrival at collectives',
      s.arrivals.map(
        ({ device, calls, meanLateNs, last }) =>
          `${device}: ${calls} calls, ${time(meanLateNs)} after the first on average, last in ${last}`,
      ),
    ),
    ...section(
      'memory',
      s.memory.flatMap((m) => [
        `${m.device}: ${formatBytes(m.allocatedBytes)} allocated, ${formatBytes(m.reservedBytes)} reserved, ` +
          `${formatBytes(m.peakReservedBytes)} at most`,
        ...m.pools.map(
          ({ pool, segments, usedBytes, reservedBytes }) =>
            `  pool ${pool}: ${formatBytes(usedBytes)} of ${formatBytes(reservedBytes)} used, ` +
            `${segments} segment${segments === 1 ? '' : 's'}`,
        ),
      ]),
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
