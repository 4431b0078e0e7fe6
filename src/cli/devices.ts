// `weft devices`: a table of the devices that a choice opens, and of the links between them.

import { arch } from 'node:os'
import type { Command } from 'commander'
import type { DeviceInfo } from '../fabric/devices.js'
import type { Topology } from '../fabric/fabric.js'
import type { ProbeSource } from '../fabric/probe.js'
import type { PathProbe } from '../native/link-types.js'
import type { NvmlReport } from '../native/types.js'
import { formatBytes } from './format-bytes.js'
import { table } from './table.js'

/** What --devices takes, here and in `weft train`. */
export const deviceHelp =
  "names and ranges (cuda:0, host:0-3, cuda:0,host:1), 'cuda', 'host' or 'auto'"

interface DevicesFlags {
  devices: string
  virtual?: string
  json?: boolean
  probe?: boolean
  again?: boolean
}

/** What `--json` tells of one device. */
export type ListedDevice = DeviceInfo & { freeBytes: number }

/** Rows of the device table. A part of a split GPU is called virtual wherever it is shown. */
export function deviceRows(devices: readonly ListedDevice[]): string[][] {
  return devices.map((device) => [
    device.virtualIndex >= 0 ? `${device.name} (virtual)` : device.name,
    device.driver,
    device.model,
    architecture(device),
    formatBytes(device.totalBytes),
    device.freeBytes > 0 ? formatBytes(device.freeBytes) : '',
    String(device.multiprocessors),
  ])
}

/** 'sm_90' of a GPU, else that of the processor. */
export function architecture(device: DeviceInfo): string {
  const { driver, capabilityMajor, capabilityMinor } = device
  return driver === 'cuda' ? `sm_${capabilityMajor}${capabilityMinor}` : arch()
}

/** Rows of the table of places: where a device sits, and its links by kind and number. */
export function placeRows(devices: readonly DeviceInfo[], topology: Topology): string[][] {
  return devices.map(({ name, pci, uuid, numaNode }) => [
    name,
    pci || '-',
    uuid || '-',
    numaNode < 0 ? '-' : String(numaNode),
    linksOf(name, topology),
  ])
}

/** '3 nvlink x18 through NVSwitch, 1 staged'. */
function linksOf(name: string, { links }: Topology): string {
  const counts = new Map<string, number>()
  for (const link of links.filter(({ from }) => from === name)) {
    const kind = linkKind(link)
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  return [...counts].map(([kind, count]) => `${count} ${kind}`).join(', ') || '-'
}

function linkKind({ kind, lanes, through }: Topology['links'][number]): string {
  return `${kind}${lanes > 0 ? ` x${lanes}` : ''}${through ? ` through ${through}` : ''}`
}

/** 'nvlink x18 through NVSwitch, 478 GB/s nominal, 381 measured', or as much as is known. */
export function describeLink(link: Topology['links'][number]): string {
  const nominal = link.nominalGbps > 0 ? [`${link.nominalGbps.toFixed(0)} GB/s nominal`] : []
  const unit = nominal.length > 0 ? '' : ' GB/s'
  const measured = link.gbps > 0 ? [`${link.gbps.toFixed(0)}${unit} measured`] : []
  const access = link.peerAccess ? [] : ['no peer access']
  return [linkKind(link), ...access, ...nominal, ...measured].join(', ')
}

/** Lines below the tables: versions, and what the kinds of links were taken from. */
export function versionLines(devices: readonly DeviceInfo[], nvml: NvmlReport): string[] {
  const gpu = devices.find((device) => device.driver === 'cuda')
  if (gpu === undefined) return []
  const versions = `NVIDIA driver ${gpu.driverVersion || 'unknown'}, CUDA runtime ${gpu.runtimeVersion}`
  if (nvml.found) return [versions]
  return [
    versions,
    `NVML is missing (${nvml.detail}): kinds of links come from CUDA, without lanes and nominal GB/s`,
  ]
}

/** Rows of the link table: one device a row and a column, a link a cell. */
export function linkRows(topology: Topology): string[][] {
  const cells = new Map(
    topology.links.map((link) => [`${link.from} ${link.to}`, describeLink(link)]),
  )
  return topology.devices.map((from) => [
    from,
    ...topology.devices.map((to) => (from === to ? '-' : (cells.get(`${from} ${to}`) ?? 'none'))),
  ])
}

function describePath(path: PathProbe): string {
  if (path.state !== 'works') return path.state
  const both = path.bothGbps > 0 ? ` (${path.bothGbps.toFixed(1)} both ways)` : ''
  return `${path.gbps.toFixed(1)} GB/s${both}, ${path.latencyUs.toFixed(2)} µs`
}

/** Rows of the table of tested pairs: from, to, by copy engine, by kernel. */
export function probeRows(topology: Topology): string[][] {
  return topology.links.flatMap(({ from, to, probe }) =>
    probe === undefined ? [] : [[from, to, describePath(probe.copy), describePath(probe.kernel)]],
  )
}

/** Where the results of tests came from. */
export function sourceLine({ tested, remembered, since }: ProbeSource): string {
  const parts = [
    ...(tested > 0 ? [`${tested} tested now`] : []),
    ...(remembered > 0 ? [`${remembered} remembered, since ${since}: --again tests anew`] : []),
  ]
  return `tests of ordered pairs: ${parts.join(', ')}`
}

/** A line for each pair that is not used. */
export function unusedLines(topology: Topology): string[] {
  return topology.links.flatMap(({ from, to, probe }) =>
    probe === undefined || probe.reason === ''
      ? []
      : [`not used: ${from} to ${to}: ${probe.reason}`],
  )
}

async function showDevices(flags: DevicesFlags): Promise<void> {
  const { openFabric } = await import('../fabric/fabric.js')
  const { freeBytes, nvmlReport } = await import('../fabric/devices.js')
  const virtual = flags.virtual === undefined ? {} : { virtual: Number(flags.virtual) }
  const fabric = await openFabric({ devices: flags.devices, ...virtual })
  const again = flags.again === true
  const probed = flags.probe || again ? await fabric.probe({ again }) : undefined
  const topology = probed ?? fabric.topology()
  const devices = fabric.devices.map((each) => ({ ...each, freeBytes: freeBytes(each.name) }))
  const nvml = devices.some((each) => each.driver === 'cuda') ? nvmlReport() : undefined
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ ...topology, devices, nvml })}\n`)
    return
  }
  const head = ['name', 'driver', 'model', 'architecture', 'memory', 'free', 'processors']
  const places = ['name', 'PCI', 'UUID', 'NUMA node', 'links']
  const lines = [table(head, deviceRows(devices)), table(places, placeRows(devices, topology))]
  if (topology.devices.length > 1) {
    lines.push('links', table(['from \\ to', ...topology.devices], linkRows(topology)))
    const rows = probeRows(topology)
    if (rows.length > 0) {
      lines.push(probed === undefined ? 'tests' : sourceLine(probed.source))
      lines.push(table(['from', 'to', 'copy engine', 'loads and stores'], rows))
      lines.push(...unusedLines(topology))
    } else if (probed !== undefined) {
      lines.push('tests: none, since these are parts of one device or of different drivers')
    }
    lines.push(`ring order: ${topology.ring.join(' ')}`)
    lines.push(`cliques: ${topology.cliques.map((set) => set.join(' ')).join(' | ')}`)
  }
  if (nvml !== undefined) lines.push(...versionLines(devices, nvml))
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** Adds `weft devices` to the program. */
export function devicesCommand(program: Command): void {
  program
    .command('devices')
    .description('list the devices and the links between them')
    .option('-d, --devices <names>', deviceHelp, 'auto')
    .option('--virtual <count>', 'split each GPU in so many virtual devices')
    .option('--probe', 'test and measure every pair of devices that this machine has not tested')
    .option('--again', 'test and measure every pair')
    .option('--json', 'print one JSON object')
    .action(showDevices)
}
