// Memory of the open devices: live tensors, allocator statistics, limits. memory() is the public
// entry.
import { native, words } from '../native/addon.js'
import { deviceIndex } from './devices.js'
import type { DeviceMemory } from './memory-fields.js'
import { memoryFields } from './memory-fields.js'
import type { MemorySegment } from './memory-snapshot.js'
import { decodeMemorySnapshot } from './memory-snapshot.js'
import { operatorNames } from './plugins.js'

/** Live tensors, bytes and allocator statistics of one device. */
export function deviceMemory(device?: string): DeviceMemory {
  native.memoryStats(deviceIndex(device))
  const out = {} as DeviceMemory
  memoryFields.forEach((field, i) => {
    out[field] = words[i] as number
  })
  return out
}

/** The same for every open device, by name. Counts all threads of the process. */
export function memory(): Record<string, DeviceMemory> {
  return Object.fromEntries(native.devices().map(({ name }) => [name, deviceMemory(name)]))
}

/** Caps the bytes that the device's allocator reserves; 0 lifts it. Beyond it: OutOfMemoryError. */
export function setMemoryLimit(bytes: number, device?: string): void {
  native.setMemoryLimit(deviceIndex(device), bytes)
}

/** Gives cached, free segments back to the driver; returns bytes released. */
export function releaseCached(device?: string): number {
  return native.releaseCached(deviceIndex(device))
}

/** Segments and blocks of the device's allocator. */
export function memorySnapshot(device?: string): MemorySegment[] {
  return decodeMemorySnapshot(native.memorySnapshot(deviceIndex(device)), operatorNames())
}
