// The native functions of benches: part of the addon's interface in types.ts. src/fabric/{reduce-bench,tuned-choices,pair-bench}.ts
// call them.

/** One contestant's figures at one size. */
export interface NativeMeasured {
  /** 'weft', 'weft copy-ring', 'nccl plain'. */
  label: string
  /** That the calls got; '' for NCCL. */
  algorithm: string
  /** Elements that are not right, over all ranks. */
  wrong: number
  /** Microseconds a call, one figure a round. */
  eagerUs: number[]
  graphUs: number[]
  /** Why there are no figures; '' when there are. */
  error: string
}

/** One way of moving bytes over a pair, at one size. */
export interface NativePairFigure {
  /** 'copy' (engine), 'kernel copy', 'stores', 'tma'. */
  way: string
  /** 0: the way has no such number. */
  ctas: number
  /** Microseconds a push, one figure a round: one way, and both ways at once. */
  oneUs: number[]
  bothUs: number[]
  /** Words of four bytes that did not arrive. */
  wrong: number
  error: string
}

export interface BenchFunctions {
  /** Opens NCCL's library, with multicast off, and tells its version: 22803 is 2.28.3. */
  ncclVersion(path: string): number
  /** Buffers for a group; `ncclPath` '' measures weft alone; `kind` as in event-kinds.ts. */
  reduceBenchOpen(
    group: number,
    maxBytes: number,
    dtype: number,
    inPlace: boolean,
    ncclPath: string,
    kind: number,
  ): number
  /** Blocks. `only`: labels joined by commas, '' for all. */
  reduceBenchMeasure(
    id: number,
    bytes: number,
    rounds: number,
    calls: number,
    graphCalls: number,
    only: string,
  ): NativeMeasured[]
  /** Enqueues calls of one contestant on those streams, one a rank of `group`, and returns. */
  reduceBenchStart(
    id: number,
    label: string,
    bytes: number,
    calls: number,
    group: number,
    streams: number[],
  ): void
  /** Overwrites its outputs; blocks. */
  reduceBenchSpoil(id: number, label: string, bytes: number): void
  /** Elements of its outputs that are not right; blocks. */
  reduceBenchWrong(id: number, label: string, bytes: number): number
  reduceBenchClose(id: number): void
  /** The group's choices, {kind, maxBytes, dtype, inPlace} a name, -1 for any; none: those of the table. */
  tuneGroup(group: number, names: string, numbers: Float64Array): void

  /** Two devices of one driver that reach each other; else PeerAccessError. */
  pairBenchOpen(from: number, to: number, maxBytes: number): number
  /** Blocks; `bytes` is a multiple of 16. */
  pairBenchMeasure(
    id: number,
    bytes: number,
    ctas: number[],
    rounds: number,
    calls: number,
  ): NativePairFigure[]
  /** Nanoseconds of an 8-byte flag one way; 0 on devices without kernels. */
  pairBenchFlag(id: number, rounds: number): number
  pairBenchClose(id: number): void
}
