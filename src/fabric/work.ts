// Work: what a collective call becomes. Group and RankGroup make it.
//
// A work can be awaited: `await group.allReduce(tensors)` waits for the result, as `.done` does.
// What follows from that: an async function that returns a work resolves when the work is done, with
// nothing; to hand the work itself on, return it inside an object. noGrad() and scope() may return
// one, since its call is over on the host.
import { native } from '../native/addon.js'
import { enqueued } from '../tensor/operators/enqueued.js'

/** One collective call on its way; awaiting it waits for the result. Belongs to the thread that made it. */
export class Work implements PromiseLike<void> {
  /** @internal */
  readonly [enqueued] = true
  readonly #id: number
  #done: Promise<void> | undefined

  /** @internal */
  constructor(id: number) {
    this.#id = id
  }

  /**
   * Resolves when the result is in the tensors; rejects with DesyncError, CollectiveTimeoutError,
   * FabricPoisonedError or the error of an abort. Later operators on the tensors do not need it: streams are ordered.
   */
  get done(): Promise<void> {
    this.#done ??= native.workDone(this.#id)
    return this.#done
  }

  /** As `done.then`, so that a work can be awaited. */
  // biome-ignore lint/suspicious/noThenProperty: awaiting a work is meant to wait for its result
  then<R = void, E = never>(
    fulfilled?: ((value: void) => R | PromiseLike<R>) | null,
    rejected?: ((reason: unknown) => E | PromiseLike<E>) | null,
  ): Promise<R | E> {
    return this.done.then(fulfilled, rejected)
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
    this.waitLaunched()
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
