// What the native side tells of the link between two devices, and of a test of it. native/types.ts names it in the
// addon's calls, fabric.topology() and `weft devices` show it.

/** One direction between two devices. */
export interface NativeLink {
  from: number
  to: number
  kind: string
  peerAccess: boolean
  /** Measured GB/s, 0 when not measured. */
  gbps: number
  /** NVLinks or PCIe lanes side by side, 0 when not told. */
  lanes: number
  /** What they promise in one direction, 0 when not told. */
  nominalGbps: number
  /** "NVSwitch", "host bridge", …; "" when direct or not told. */
  through: string
  /** Atomics of one on the other's memory are whole. */
  nativeAtomics: boolean
  /** CUDA's: 0 is the best kind of link of this machine, -1 when not told. */
  performanceRank: number
  /** What the last test of the pair found; missing when it was not tested. */
  probe?: PairProbe
}

/** What a test of one way of moving bytes over a pair found. */
export interface PathProbe {
  /** 'works', or 'wrong' (a pattern came back wrong), 'hangs', 'refused' (no access), 'untested'. */
  state: string
  /** 10⁹ bytes a second in this direction. */
  gbps: number
  /** Both directions at the same time, summed; 0 when not measured. */
  bothGbps: number
  /** Microseconds of one 64-byte copy, many in a row on one stream. */
  latencyUs: number
}

/** A test of a pair in one direction: `from` writes to `to`'s memory and reads it back. */
export interface PairProbe {
  /** By copy engine. */
  copy: PathProbe
  /** By loads and stores of a kernel. */
  kernel: PathProbe
  /** Why the pair is not used and copies go through the host; "" when it is used. */
  reason: string
}
