// What a snapshot tells of devices, links, streams and memory: the types of its rows. Snapshot decodes them. Pure.
import type { PairProbe } from '../native/link-types.js'
import type { DeviceMemory } from './memory-fields.js'

export interface SnapshotDevice {
  index: number
  name: string
  driver: 'host' | 'cuda'
  ordinal: number
  /** -1 when the device is not a part of a split one. */
  virtualIndex: number
  multiprocessors: number
  totalBytes: number
  model: string
  uuid: string
  pci: string
  capability: string
}

export interface SnapshotLink {
  from: number
  to: number
  peerAccess: boolean
  /** Measured, 0 when not. */
  gbps: number
  kind: string
  /** NVLinks or PCIe lanes side by side, 0 when not told. */
  lanes: number
  /** What they promise in one direction, 0 when not told. */
  nominalGbps: number
  /** "NVSwitch", "host bridge", …; "" when direct or not told. */
  through: string
  /** What the last test of the pair found; missing when it was not tested. */
  probe?: PairProbe
}

export interface SnapshotStream {
  device: number
  id: number
  purpose: string
  idle: boolean
}

/** Memory of the device with index `device`. */
export type SnapshotMemory = { device: number } & DeviceMemory

/** The memory of one pool of a device. */
export interface SnapshotPool {
  device: number
  /** 0 shared; others belong to captured graphs. */
  pool: number
  /** Segments for blocks up to 1 MiB, or those for larger ones. */
  small: boolean
  segments: number
  reservedBytes: number
  /** Neither in live blocks nor waiting for another stream. */
  freeBytes: number
}
