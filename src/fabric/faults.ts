// Faults and delays of the host driver, for tests: real code paths see them. Process-wide.
import { native } from '../native/addon.js'

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
  /** Removes every injected fault. */
  clear: (): void => native.clearFaults(),
}
