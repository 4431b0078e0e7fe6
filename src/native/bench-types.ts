// The native functions of benches: part of the addon's interface in types.ts. src/fabric/{reduce-bench,tuned-choices}.ts
// call them.

/** One contestant's figures at one size. */
export interface NativeMeasured {
  /** 'weft', 'weft copy-ring', 'nccl plain'. */
  label: string
  /** That the calls got; '' for NCCL. */
  algorithm: string
  /** Elements that differ from the sum, over all ranks. */
  wrong: number
  /** Microseconds a call, one figure a round. */
  eagerUs: number[]
  graphUs: number[]
  /** Why there are no figures; '' when there are. */
  error: string
}

export interface BenchFunctions {
  /** Opens NCCL's library, with multicast off, and tells its version: 22803 is 2.28.3. */
  ncclVersion(path: string): number
  /** Buffers for a group; `ncclPath` '' measures weft alone. */
  reduceBenchOpen(
    group: number,
    maxBytes: number,
    dtype: number,
    inPlace: boolean,
    ncclPath: string,
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
  reduceBenchClose(id: number): void
  /** The group's choices for all-reduce, {maxBytes, dtype, inPlace} a name; none: those of the table. */
  tuneGroup(group: number, names: string, numbers: Float64Array): void
}
