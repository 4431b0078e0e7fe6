// All workers of a run as one: a message to every rank, and what happens when one of them fails. The
// first failure decides the run's error; the group is aborted at once so that ranks blocked in a
// collective come out, and the threads are ended. The coordinator drives it; every wait is bounded.
import { withDeadline } from '../fabric/deadline.js'
import { WorkerError } from '../native/errors.js'
import { DevicePool } from './device-pool.js'
import { CONTROL_BEATS, CONTROL_STEPS, closeGate, makeControl } from './worker/control.js'
import type { MessageKind, Messages, Replies } from './worker/protocol.js'

/** How long ranks get to come out of a collective after an abort. */
const RELEASE_MS = 1_000
/** How long threads get to end. */
const END_MS = 5_000

/** What a crew needs to know. */
export interface CrewOptions {
  /** Device names by rank. */
  devices: readonly string[]
  /** A run fails when no rank moves for so long. */
  stallMs: number
  /** Makes every blocked collective of the run end with `error`. */
  abortGroup: (error: Error) => void
}

/** One worker a rank. */
export class Crew {
  readonly control: Int32Array
  readonly #options: CrewOptions
  readonly #pools: DevicePool[]
  #failure: Error | undefined
  #rejectFailure!: (error: Error) => void
  readonly #failed: Promise<never>

  constructor(options: CrewOptions) {
    this.#options = options
    this.control = makeControl(options.devices.length)
    this.#failed = new Promise((_, reject) => {
      this.#rejectFailure = reject
    })
    this.#failed.catch(() => {})
    this.#pools = options.devices.map(
      (device, rank) => new DevicePool({ rank, device, control: this.control }),
    )
  }

  /** Number of ranks. */
  get size(): number {
    return this.#pools.length
  }

  /** Makes every rank stop after the step in progress: no further step begins. */
  requestStop(): void {
    closeGate(this.control)
  }

  /** Sends every rank its message and waits for all replies, or for the first failure. */
  async sendAll<K extends MessageKind>(make: (rank: number) => Messages[K]): Promise<Replies[K][]> {
    const replies = this.#pools.map((pool, rank) => pool.send<K>(make(rank)))
    return this.#await(Promise.all(replies), Promise.allSettled(replies))
  }

  /** Sends one rank a message. */
  async send<K extends MessageKind>(rank: number, message: Messages[K]): Promise<Replies[K]> {
    const reply = this.#pools[rank]!.send<K>(message)
    return this.#await(reply, Promise.allSettled([reply]))
  }

  /** Fails the run now; the first error given here is the one that it ends with. */
  fail(error: Error): void {
    if (this.#failure) return
    this.#failure = error
    this.#options.abortGroup(error)
    this.#rejectFailure(error)
  }

  /** Ends all threads. True when every one of them ended in time. */
  async destroy(): Promise<boolean> {
    const ended = await Promise.all(this.#pools.map((pool) => pool.destroy(END_MS)))
    return ended.every((end) => end)
  }

  async #await<T>(work: Promise<T>, settled: Promise<unknown>): Promise<T> {
    const endWatch = this.#watch()
    work.catch((error: Error) => this.fail(error))
    try {
      return await Promise.race([work, this.#failed])
    } catch {
      // Ranks that the abort released may still be on their way out of native code.
      await withDeadline(settled, RELEASE_MS, () => {})
      throw this.#failure!
    } finally {
      endWatch()
    }
  }

  /** Fails the run when the beat of all ranks stands still for too long. */
  #watch(): () => void {
    const { stallMs } = this.#options
    let beats = Atomics.load(this.control, CONTROL_BEATS)
    let moved = performance.now()
    const check = () => {
      const now = Atomics.load(this.control, CONTROL_BEATS)
      if (now !== beats) {
        beats = now
        moved = performance.now()
      } else if (performance.now() - moved >= stallMs) {
        this.fail(
          new WorkerError(`nothing moved on any rank for ${stallMs / 1000} s: see option stallMs`, {
            stallMs,
            steps: [...this.control.subarray(CONTROL_STEPS)],
          }),
        )
      }
    }
    const timer = setInterval(check, Math.max(10, Math.min(1_000, stallMs / 4)))
    return () => clearInterval(timer)
  }
}
