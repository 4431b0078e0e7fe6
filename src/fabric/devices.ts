// Devices by name and number, and this thread's default device. The tensor functions resolve their
// `device` option here; openFabric() opens through here. A device that is named is opened on first
// use.
import { native } from '../native/addon.js'
import { DeviceError, UsageError } from '../native/errors.js'
import type { NativeDevice, NvmlReport } from '../native/types.js'
import type { DeviceName, DriverFacts } from './device-names.js'
import { settleByEnvironment } from './gemm-policy.js'

/** A device of the fabric: see NativeDevice for the fields. */
export type DeviceInfo = Readonly<NativeDevice & { name: DeviceName }>

const byName = new Map<string, DeviceInfo>()
const byIndex: DeviceInfo[] = []
let defaultName: string | undefined

/**
 * Opens a device, or finds it when it is open. `virtualCount` splits a GPU when it is first opened.
 */
export function openDevice(name: string, virtualCount = 0): DeviceInfo {
  const known = byName.get(name)
  if (known !== undefined) return known
  if (typeof name !== 'string') {
    throw new UsageError(`a device is named as in 'host:0' or 'cuda:1', not ${String(name)}`)
  }
  settleByEnvironment([name])
  return remember(native.openDevice(name, virtualCount))
}

/** Index of the device called `name`; of the default device without a name. */
export function deviceIndex(name?: string): number {
  const known = byName.get(name ?? defaultDevice())
  return known !== undefined ? known.index : openDevice(name ?? defaultDevice()).index
}

/** Name of the device at `index`. */
export function deviceName(index: number): DeviceName {
  const known = byIndex[index]
  if (known !== undefined) return known.name
  for (const device of native.devices()) remember(device)
  const found = byIndex[index]
  if (found === undefined) throw new DeviceError(`there is no device with index ${index}`)
  return found.name
}

/**
 * The device of tensors made without a `device` option: cuda:0 where there is a GPU, else host:0.
 */
export function defaultDevice(): string {
  defaultName ??= gpuCount() > 0 ? 'cuda:0' : 'host:0'
  return defaultName
}

/** Sets this thread's default device; opens it. Workers have their own. */
export function setDefaultDevice(name: string): void {
  defaultName = openDevice(name).name
}

/** @internal Makes `name` the default unless one was chosen before. */
export function preferDevice(name: string): void {
  defaultName ??= name
}

/** Bytes of the device's memory that nobody, in any process, has taken now; 0: not told. */
export function freeBytes(name?: string): number {
  return native.freeBytes(deviceIndex(name))
}

/** @internal What tells about links between GPUs, and the NVIDIA driver's version. */
export function nvmlReport(): NvmlReport {
  return native.nvml()
}

/** GPUs that the cuda driver of this build finds; 0 without the driver. */
export function gpuCount(): number {
  return driverFacts().gpus
}

/** @internal What this machine and build offer. */
export function driverFacts(): DriverFacts {
  const { cuda, drivers } = native.buildInfo()
  const count = (name: string) => drivers.find((driver) => driver.name === name)?.devices ?? 0
  return { cuda, gpus: count('cuda'), hosts: count('host') }
}

function remember(native: NativeDevice): DeviceInfo {
  const device = native as DeviceInfo // the native side makes no other names
  byName.set(device.name, device)
  byIndex[device.index] = device
  return device
}
