// A pair of devices measured by native code (native/bench/pair_bench): copy engine, stores, bulk copies, by size and
// number of CTAs. `weft bench p2p` uses it. Calls block the thread.
import { native } from '../native/addon.js'
import type { NativePairFigure } from '../native/bench-types.js'
import { deviceIndex } from './devices.js'

export type PairFigure = NativePairFigure

export interface PairPlan {
  bytes: number
  ctas: readonly number[]
  rounds: number
  calls: number
}

/** Buffers on two devices. Dispose of it. */
export class PairBench {
  readonly #id: number

  constructor(from: string, to: string, maxBytes: number) {
    this.#id = native.pairBenchOpen(deviceIndex(from), deviceIndex(to), maxBytes)
  }

  measure({ bytes, ctas, rounds, calls }: PairPlan): PairFigure[] {
    return native.pairBenchMeasure(this.#id, bytes, [...ctas], rounds, calls)
  }

  /** Nanoseconds of a flag one way; 0 on devices without kernels. */
  flagNs(rounds: number): number {
    return native.pairBenchFlag(this.#id, rounds)
  }

  dispose(): void {
    native.pairBenchClose(this.#id)
  }
  [Symbol.dispose](): void {
    this.dispose()
  }
}
