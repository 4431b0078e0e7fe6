// What openFabric()'s `devices` and `virtual` mean as a list of device names. Pure.
import { DeviceError, UsageError } from '../native/errors.js'

/**
 * 'auto' (all GPUs, else host:4), 'cuda' or 'cuda:N' (all or the first N GPUs), 'host:N', or names.
 */
export type DeviceChoice = 'auto' | 'cuda' | (string & {}) | readonly string[]

/** What the machine and the build offer. */
export interface DriverFacts {
  /** Is the cuda driver part of this build? */
  cuda: boolean
  gpus: number
}

/** Device names for a choice. Throws DeviceError when GPUs are asked for and there are none. */
export function deviceNames(choice: DeviceChoice, virtual: number, facts: DriverFacts): string[] {
  if (!Number.isInteger(virtual) || virtual < 0) {
    throw new UsageError(`virtual must be a whole number of parts a device, not ${virtual}`)
  }
  const names = wholeNames(choice, facts)
  const repeated = names.find((name, i) => names.indexOf(name) !== i)
  if (repeated !== undefined) throw new UsageError(`device ${repeated} is named twice`)
  if (virtual <= 1) return names
  return names.flatMap((name) => Array.from({ length: virtual }, (_, part) => `${name}/${part}`))
}

function wholeNames(choice: DeviceChoice, facts: DriverFacts): string[] {
  if (typeof choice !== 'string') {
    if (choice.length === 0) throw new UsageError('devices: an empty list')
    for (const name of choice) if (name.startsWith('cuda')) requireGpu(facts)
    return [...choice]
  }
  if (choice === 'auto') return facts.gpus > 0 ? numbered('cuda', facts.gpus) : numbered('host', 4)
  const match = /^(cuda|host)(?::(\d+))?$/.exec(choice)
  if (!match) {
    throw new UsageError(
      `devices: ${JSON.stringify(choice)} is not 'auto', 'cuda', 'cuda:N', 'host:N' or a list of names`,
    )
  }
  const count = match[2] === undefined ? undefined : Number(match[2])
  if (count === 0) throw new UsageError(`devices: ${choice} asks for no device`)
  if (match[1] === 'host') return numbered('host', count ?? 4)
  requireGpu(facts)
  if (count !== undefined && count > facts.gpus) {
    throw new DeviceError(`${choice} asks for ${count} GPUs, this machine has ${facts.gpus}`)
  }
  return numbered('cuda', count ?? facts.gpus)
}

function numbered(driver: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${driver}:${i}`)
}

function requireGpu(facts: DriverFacts): void {
  if (!facts.cuda) {
    throw new DeviceError(
      'this build has no cuda driver: it was built without CUDA, or the machine has no NVIDIA driver. ' +
        "Rebuild with WEFT_CUDA=on on a machine with a GPU, or use devices: 'host:4'.",
    )
  }
  if (facts.gpus === 0) {
    throw new DeviceError(
      "the cuda driver finds no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use devices: 'host:4'.",
    )
  }
}
