// Where the host suite runs: on host devices, or on the device that WEFT_TEST_DEVICE names, a GPU too;
// several devices are then parts of that GPU. Every test file of this folder asks here.
import { test } from 'vitest'

/** The device of tests that need one: host:0 unless WEFT_TEST_DEVICE names another. */
export const device = process.env['WEFT_TEST_DEVICE'] ?? 'host:0'
export const onGpu = device.startsWith('cuda:')

/** What openFabric() and Trainer take for `count` devices. */
export function several(count: number): { devices: string | string[]; virtual?: number } {
  if (onGpu) return { devices: [device], virtual: count }
  return { devices: count === 1 ? [device] : `host:0-${count - 1}` }
}

/** Names of the devices of several(count), by rank. */
export function severalNames(count: number): string[] {
  if (count === 1) return [device]
  const stem = onGpu ? `${device}/` : 'host:'
  return Array.from({ length: count }, (_, i) => stem + i)
}

/** A device of the same kind that is not `device`; open after openFabric(several(2)). */
export const elsewhere = severalNames(2).find((name) => name !== device)!

/** Number of `device` for the faults of the host driver; on a GPU they touch nothing that a test uses. */
export const ordinal = onGpu ? 0 : Number(device.slice('host:'.length))

/** What a run's folder holds beside the usual where a GPU multiplied. */
export const choicesFile = onGpu ? ['gemm-choices.json'] : []

type Define = (name: string, body: () => void | Promise<void>, timeout?: number) => void

/** test() for what only the host driver can do; on a GPU each is skipped with this reason. */
export function hostOnly(reason: string): Define {
  if (!onGpu) return test
  return (name) => test(name, ({ skip }) => skip(`host driver only: ${reason}`))
}
