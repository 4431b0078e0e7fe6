// What openFabric()'s `devices` and `virtual` mean as a list of device names. Pure. A name always names
// one device, here as in every other option; more than one are a range, a list, or a driver without a
// number.
import { DeviceError, UsageError } from '../native/errors.js'

/**
 * - 'auto': all GPUs, else four host devices
 * - 'cuda': all GPUs; 'host': four host devices
 * - 'host:1', 'cuda:0', 'cuda:0/1': that one device
 * - 'host:0-3': a range, both ends included
 * - 'cuda:0,host:1', or an array: several of these
 */
export type DeviceChoice = 'auto' | 'cuda' | 'host' | (string & {}) | readonly string[]

/** The name of one device: 'host:1', 'cuda:0', a part of a split one 'cuda:0/1'. */
export type DeviceName = `${'host' | 'cuda'}:${number}` | `${'host' | 'cuda'}:${number}/${number}`

/** What the machine and the build offer. */
export interface DriverFacts {
  /** Is the cuda driver part of this build? */
  cuda: boolean
  gpus: number
  /** Host devices that can be opened. */
  hosts: number
}

/** Driver; number; end of a range, or a part of a split device. */
const grammar = /^(cuda|host)(?::(0|[1-9]\d{0,3})(?:-(0|[1-9]\d{0,3})|(\/\d{1,4}))?)?$/

/** Host devices that 'auto' and 'host' open. */
const defaultHosts = 4

/** Device names for a choice. Throws DeviceError when a device is not there, GPUs in particular. */
export function deviceNames(choice: DeviceChoice, virtual: number, facts: DriverFacts): string[] {
  if (!Number.isInteger(virtual) || virtual < 0) {
    throw new UsageError(`virtual must be a whole number of parts a device, not ${virtual}`)
  }
  const names = partsOf(choice).flatMap((part) => namesOf(part, facts))
  const split =
    virtual <= 1
      ? names
      : // What names a part already stays that part.
        names.flatMap((name) => (name.includes('/') ? name : partNames(name, virtual)))
  const repeated = split.find((name, i) => split.indexOf(name) !== i)
  if (repeated !== undefined) throw new UsageError(`device ${repeated} is named twice`)
  return split
}

function partNames(name: string, virtual: number): string[] {
  return Array.from({ length: virtual }, (_, part) => `${name}/${part}`)
}

/** The parts of a choice: 'cuda:0,host:1' and ['cuda:0', 'host:1'] are the same. */
function partsOf(choice: DeviceChoice): string[] {
  const list: unknown = typeof choice === 'string' ? [choice] : choice
  if (!Array.isArray(list) || list.some((part) => typeof part !== 'string')) {
    throw new UsageError(
      `devices: ${JSON.stringify(choice)} is neither a string nor an array of them`,
    )
  }
  if (list.length === 0) throw new UsageError('devices: an empty list')
  return (list as string[]).flatMap((part) => part.split(',')).map((part) => part.trim())
}

function namesOf(part: string, facts: DriverFacts): string[] {
  if (part === 'auto') return namesOf(facts.gpus > 0 ? 'cuda' : 'host', facts)
  const match = grammar.exec(part)
  if (!match) {
    throw new DeviceError(
      `devices: there is no ${JSON.stringify(part)}. A name names one device (host:1, cuda:0), ` +
        "host:0-3 is a range, 'cuda' is every GPU, 'host' four host devices, 'auto' one of these two",
      { device: part },
    )
  }
  const driver = match[1] as 'cuda' | 'host'
  if (driver === 'cuda') requireGpu(facts)
  const there = driver === 'cuda' ? facts.gpus : facts.hosts
  if (match[2] === undefined)
    return range(driver, 0, (driver === 'cuda' ? there : defaultHosts) - 1)
  const first = Number(match[2])
  const last = match[3] === undefined ? first : Number(match[3])
  if (last < first) throw new UsageError(`devices: ${part} ends before it begins`)
  if (last >= there) {
    throw new DeviceError(
      `there is no ${driver}:${last}: this machine has ${driver}:0 to ${driver}:${there - 1}. ` +
        'A number is that of one device, no count',
      { device: `${driver}:${last}` },
    )
  }
  if (match[4] !== undefined) return [`${driver}:${first}${match[4]}`]
  return range(driver, first, last)
}

function range(driver: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => `${driver}:${first + i}`)
}

function requireGpu(facts: DriverFacts): void {
  if (!facts.cuda) {
    throw new DeviceError(
      'this build has no cuda driver: it was built without CUDA, or the machine has no NVIDIA driver. ' +
        "Rebuild with WEFT_CUDA=on on a machine with a GPU, or use devices: 'host'.",
    )
  }
  if (facts.gpus === 0) {
    throw new DeviceError(
      "the cuda driver finds no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use devices: 'host'.",
    )
  }
}
