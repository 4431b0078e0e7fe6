// One worker thread for one device: a piscina pool of exactly one thread, so that every message of a
// run reaches the same replica. Turns whatever ends a message badly (a thrown error, an exit, a
// terminated thread) into one named error that tells rank, device and step.
import type { Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { withDeadline } from '../fabric/deadline.js'
import { WorkerError } from '../native/errors.js'
import { CONTROL_STEPS } from './worker/control.js'
import { type ErrorRecord, isWeftRecord, reviveError } from './worker/error-record.js'
import type { MessageKind, Messages, Replies, WorkerReply } from './worker/protocol.js'

const workerFile = new URL('./worker/main.js', import.meta.url).href

const YOUNG_GENERATION_MB = 6

/** Where a pool stands in the run. */
export interface PoolPlace {
  rank: number
  device: string
  /** The words that coordinator and workers share. */
  control: Int32Array
}

/** 'rank 1 on host:1, step 7', or without the step outside the steps. */
function placeText({ rank, device }: PoolPlace, step: number): string {
  return `rank ${rank} on ${device}${step > 0 ? `, step ${step}` : ''}`
}

function exitOf(thread: Worker): Promise<void> {
  return new Promise((resolve) => {
    thread.once('exit', () => resolve())
  })
}

/** The worker of one rank. */
export class DevicePool {
  readonly place: PoolPlace
  readonly #pool: Piscina
  readonly #exited: Promise<unknown>

  constructor(place: PoolPlace) {
    this.place = place
    this.#pool = new Piscina({
      filename: workerFile,
      minThreads: 1,
      maxThreads: 1,
      concurrentTasksPerWorker: 1,
      // Waiting on atomics would keep the worker's event loop, and with it finalizers, from turning.
      atomics: 'disabled',
      // A step leaves little behind. A large young generation would only fill up before it is swept:
      // tens of megabytes a worker, which look like a leak for the first ten thousand steps.
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    })
    // Between messages nobody awaits the thread; its end shows at the next message.
    this.#pool.on('error', () => {})
    // piscina forgets a thread that failed, and its destroy() does not wait for that one's end.
    this.#exited = Promise.all(this.#pool.threads.map((thread) => exitOf(thread)))
  }

  /** Sends one message and waits for its reply; rejects with the run's named errors only. */
  async send<K extends MessageKind>(message: Messages[K]): Promise<Replies[K]> {
    let reply: WorkerReply<Replies[K]>
    try {
      reply = await this.#pool.run(message)
    } catch (error) {
      throw this.#ended(error)
    }
    if (reply.ok) return reply.value
    if (reply.gone) throw this.#ended(new Error('between two messages'))
    throw this.#failed(reply.error)
  }

  /** Ends the thread; resolves to false when it did not end within `limitMs`. */
  async destroy(limitMs: number): Promise<boolean> {
    return await withDeadline(this.#end(), limitMs, () => false)
  }

  /** piscina replaces a thread that it sees end outside its destroy(), even after it: hence twice. */
  async #end(): Promise<true> {
    await Promise.all([this.#pool.destroy(), this.#exited])
    await this.#pool.destroy()
    return true
  }

  /** The handler reported an error: weft's own keep their class, others become a WorkerError that says whose it is. */
  #failed(record: ErrorRecord): Error {
    const { rank, device } = this.place
    const where = placeText(this.place, record.step)
    const place = { rank, device, step: record.step }
    const { name, message, stack, part } = record
    if (isWeftRecord(record)) {
      const at = part === undefined ? where : `${part}, ${where}`
      return reviveError(record, `${message} (${at})`, place)
    }
    const what =
      part === undefined
        ? `weft failed with ${name}: ${message} (a fault of weft, not of the task)`
        : `${part} threw ${name}: ${message}`
    const error = new WorkerError(`${where}: ${what}`, {
      ...place,
      ...(part === undefined ? {} : { part }),
      cause: { name, message, stack },
    })
    error.cause = reviveError(record)
    return error
  }

  /** The thread itself ended: exit, terminate, or an error outside any message. */
  #ended(thrown: unknown): Error {
    const { rank, device, control } = this.place
    const step = Atomics.load(control, CONTROL_STEPS + rank)
    const { name, message, stack } = thrown instanceof Error ? thrown : new Error(String(thrown))
    const error = new WorkerError(
      `the worker of ${placeText(this.place, step)} ended in the middle of its work: ${message}`,
      { rank, device, step, cause: { name, message, stack } },
    )
    error.cause = thrown
    return error
  }
}
