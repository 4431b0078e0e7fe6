// Work: what a collective call becomes. Group and RankGroup make it.
import { native } from '../native/addon.js'

/** One collective call on its way. Belongs to the thread that made it. */
export class Work {
  readonly #id: number
  #done: Promise<void> | undefined

  /** @internal */
  constructor(id: number) {
    this.#id = id
  }

  /**
   * Resolves when the result is in the tensors; rejects with DesyncError, CollectiveTimeoutError or
   * the error of an abort. Later operators on the tensors do not need it: streams are ordered.
   */
  get done(): Promise<void> {
    this.#done ??= native.workDone(this.#id)
    return this.#done
  }

  /** Is the result there? Never waits. */
  get isDone(): boolean {
    return native.workIsDone(this.#id)
  }

  /**
   * BLOCKS this thread until all ranks arrived and the work is enqueued, or throws as `done`
   * rejects. For worker threads; on the main thread use `done`.
   */
  waitLaunched(): void {
    native.workWaitLaunched(this.#id)
  }

  /** The current stream of the rank's device waits for the result. The work must be launched. */
  streamWait(): void {
    native.workStreamWait(this.#id)
  }

  /** waitLaunched() and streamWait(): afterwards operators of this thread see the result. */
  wait(): void {
    native.workWaitLaunched(this.#id)
    native.workStreamWait(this.#id)
  }

  /** Bitwise or of all ranks' votes. The work must be launched. */
  get votes(): number {
    return native.workVotes(this.#id)
  }

  /** Forgets the call natively (it goes on); otherwise finished calls are forgotten in time. */
  release(): void {
    native.workRelease(this.#id)
  }
}
