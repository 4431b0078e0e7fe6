// Captured work: run once to record it, replayed many times at the cost of one launch. Users capture
// whole training steps with captureGraph(); the trainer's workers capture over a group
// (src/train/worker/captured-step.ts).
import { defaultDevice, deviceIndex } from '../fabric/devices.js'
import { native } from '../native/addon.js'
import { scope } from '../tensor/scope/scope.js'
import { collectRates, ReplayRates } from './replay-rates.js'

/** What captureGraph() may be told. */
export interface CaptureOptions {
  /** The devices that the work runs on; default: this thread's default device. */
  devices?: string | readonly string[]
}

/** Work that was captured. Runs on the compute streams of its devices. */
export class Graph<T> {
  /** What the captured function returned: tensors that every replay writes anew. */
  readonly result: T
  readonly devices: readonly string[]
  readonly #rates: ReplayRates
  #id: number

  /** @internal */
  constructor(id: number, devices: readonly string[], rates: ReplayRates, result: T) {
    this.#id = id
    this.devices = devices
    this.#rates = rates
    this.result = result
  }

  /**
   * Enqueues one run after everything on the devices' compute streams so far, and returns. Random
   * operators draw fresh numbers, as the same calls would without a graph; optimizers in it count a
   * step and use their present learning rate.
   */
  replay(): void {
    native.graphReplay(this.#id, this.#rates.next(this.devices))
  }

  /**
   * Gives the graph and its memory back. BLOCKS until its last run is done. Idempotent. Tensors in
   * `result` stay the caller's to dispose of.
   */
  dispose(): void {
    if (this.#id === 0) return
    native.graphDispose(this.#id)
    this.#id = 0
  }
  /** As dispose(), for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

/**
 * Records what `fn` enqueues, without running it; replay() runs it. Everything that `fn` reads or
 * writes must exist before and live as long as the graph: change inputs with `copy_` between
 * replays. Run the same function a few times before, so that optimizers have their state and
 * kernels are chosen. Gradients that exist when the capture begins are added to by every replay.
 * Reading values, making tensors from host data, seeding and synchronising are a UsageError inside;
 * the capture is then dropped, and the error is thrown.
 */
export function captureGraph<T>(fn: () => T, options: CaptureOptions = {}): Graph<T> {
  const chosen = options.devices ?? defaultDevice()
  const devices = typeof chosen === 'string' ? [chosen] : [...chosen]
  const rates = new ReplayRates()
  const id = native.graphBegin(devices.map((device) => deviceIndex(device)))
  try {
    const result = collectRates(rates, () => scope(fn))
    native.graphEnd(id)
    return new Graph(id, devices, rates, result)
  } catch (error) {
    native.graphDispose(id)
    throw error
  }
}
