// Faults and delays for tests: real code paths see them. Process-wide. All are the host driver's but
// illegalAddress, which is for every device.
import { native } from '../native/addon.js'
import { deviceIndex } from './devices.js'

/** Faults and delays of host devices, for tests. Process-wide; each stays until it is ended. */
export const faults = {
  /** Every task on host device `ordinal` takes at least this many microseconds more; 0 ends it. */
  setDeviceDelay: (ordinal: number, microseconds: number): void =>
    native.setDeviceDelay(ordinal, microseconds),
  /**
   * The next `count` segment allocations on host device `ordinal` fail, after `skip` that succeed.
   */
  failAllocations: (ordinal: number, count: number, skip = 0): void =>
    native.failAllocations(ordinal, count, skip),
  /** Host devices `a` and `b` can no longer, or again, reach each other's memory. */
  setPeerAccess: (a: number, b: number, allowed: boolean): void =>
    native.setPeerAccess(a, b, allowed),
  /** What is wrong with the way of host device `from`'s streams to the memory of `to`. */
  setPairFault: (from: number, to: number, fault: 'none' | 'lies' | 'hangs' | 'slow'): void =>
    native.setPairFault(from, to, ['none', 'lies', 'hangs', 'slow'].indexOf(fault)),
  /** Drops what tests of pairs found, so that pairs that failed are used again. */
  forgetProbes: (): void => native.forgetProbes(),
  /**
   * A kernel on `device`'s compute stream writes to an illegal address: once it ran, every call
   * throws FabricPoisonedError, and clear() does not help.
   */
  illegalAddress: (device: string): void => native.illegalAddress(deviceIndex(device)),
  /** How often this process waited on the host for a stream or an event; no fault, a count. */
  hostWaits: (): number => native.hostWaits(),
  /** Removes every injected fault. */
  clear: (): void => native.clearFaults(),
}
