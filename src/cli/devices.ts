// `weft devices`: a table of the devices that a choice opens, and of the links between them.

import Table from 'cli-table3'
import type { Command } from 'commander'
import type { DeviceInfo } from '../fabric/devices.js'
import type { Topology } from '../fabric/fabric.js'
import { formatBytes } from './format-bytes.js'

interface DevicesFlags {
  devices: string
  virtual?: string
  json?: boolean
}

/** 'host:0,host:1' names devices; anything else is a choice that openFabric() knows. */
function parseChoice(text: string): string | string[] {
  return text.includes(',') ? text.split(',').map((name) => name.trim()) : text
}

/** Rows of the device table. A part of a split GPU is called virtual wherever it is shown. */
export function deviceRows(devices: readonly DeviceInfo[]): string[][] {
  return devices.map((device) => [
    device.virtualIndex >= 0 ? `${device.name} (virtual)` : device.name,
    device.driver,
    device.model,
    formatBytes(device.totalBytes),
    String(device.multiprocessors),
  ])
}

function describeLink(link: Topology['links'][number]): string {
  const speed = link.gbps > 0 ? ` ${link.gbps.toFixed(0)} GB/s` : ''
  return `${link.kind}${link.peerAccess ? '' : ', no peer access'}${speed}`
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

function table(head: string[], rows: string[][]): string {
  // Colours only where a person looks.
  const style = process.stdout.isTTY ? {} : { style: { head: [], border: [] } }
  const made = new Table({ head, ...style })
  made.push(...rows)
  return made.toString()
}

async function showDevices(flags: DevicesFlags): Promise<void> {
  const { openFabric } = await import('../fabric/fabric.js')
  const virtual = flags.virtual === undefined ? {} : { virtual: Number(flags.virtual) }
  const fabric = await openFabric({ devices: parseChoice(flags.devices), ...virtual })
  const topology = fabric.topology()
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ ...topology, devices: fabric.devices })}\n`)
    return
  }
  const head = ['name', 'driver', 'model', 'memory', 'processors']
  const lines = [table(head, deviceRows(fabric.devices))]
  if (topology.devices.length > 1) {
    lines.push('links', table(['from \\ to', ...topology.devices], linkRows(topology)))
    lines.push(`ring order: ${topology.ring.join(' ')}`)
  }
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** Adds `weft devices` to the program. */
export function devicesCommand(program: Command): void {
  program
    .command('devices')
    .description('list the devices and the links between them')
    .option('-d, --devices <names>', "'auto', 'cuda', 'host:4', or names: host:0,host:1", 'auto')
    .option('--virtual <count>', 'split each GPU in so many virtual devices')
    .option('--json', 'print one JSON object')
    .action(showDevices)
}
