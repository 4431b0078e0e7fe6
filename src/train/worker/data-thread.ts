// A rank's training and test data made on a thread of its own (`dataThread`): what its worker sees of it are batch
// sources like any other. The replica opens sources here instead of calling task.data.
//
// Design. The thread answers in messages (data-messages.ts); each source and each stream has a number. What
// arrives for a stream is kept in order until it is asked for; one question may wait at a time, as iterators are asked.
// Who waits is told in the end: by the answer, by the thread's error or by its exit, which fail all streams at once.
// A thread that hangs moves no step, and the run's stall limit ends the run.
import { Worker } from 'node:worker_threads'
import { withDeadline } from '../../fabric/deadline.js'
import { WorkerError } from '../../native/errors.js'
import type { BatchSource, DataRequest, HostBatch } from '../task.js'
import type { DataMessage, DataReply, DataThreadSettings } from './data-messages.js'
import { reviveError } from './error-record.js'

const program = new URL('./data-main.js', import.meta.url)
const endMs = 10_000

type Answer = Exclude<DataReply, { kind: 'failed' }>

/** What came for one number, and who waits for it. */
class Line {
  readonly #come: (Answer | Error)[] = []
  #waiting: ((answer: Answer | Error) => void) | undefined

  give(answer: Answer | Error): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting) waiting(answer)
    else this.#come.push(answer)
  }

  async take(): Promise<Answer> {
    const answer = this.#come.shift() ?? (await new Promise<Answer | Error>(this.#wait))
    if (answer instanceof Error) throw answer
    return answer
  }

  readonly #wait = (resolve: (answer: Answer | Error) => void): void => {
    this.#waiting = resolve
  }
}

export class DataThread {
  readonly #worker: Worker
  readonly #lines = new Map<number, Line>()
  #next = 1
  #failed: Error | undefined

  /** Starts the thread, which imports the task's module at the first open(). */
  constructor(settings: DataThreadSettings) {
    this.#worker = new Worker(program, { workerData: settings })
    this.#worker.on('message', (reply: DataReply) => this.#receive(reply))
    this.#worker.on('error', (error) => this.#fail(`failed: ${error.message}`, error))
    this.#worker.on('exit', (code) => this.#fail(`ended with exit code ${code}`))
    this.#worker.unref()
  }

  /** The source that task.data returns for `request`. */
  async open(request: DataRequest): Promise<BatchSource> {
    const id = this.#ask((id) => ({ kind: 'open', id, request }))
    const answer = await this.#answer(id)
    this.#lines.delete(id)
    const length = answer.kind === 'opened' ? answer.length : undefined
    return {
      ...(length === undefined ? {} : { length }),
      startingAt: (batch: number) => ({ [Symbol.asyncIterator]: () => this.#iterate(id, batch) }),
      [Symbol.asyncIterator]: () => this.#iterate(id, 0),
    }
  }

  /** Ends the thread, whatever it does. */
  async close(): Promise<void> {
    this.#worker.removeAllListeners('exit')
    this.#fail('was closed')
    await withDeadline(this.#worker.terminate(), endMs, () => 0)
  }

  #iterate(source: number, skip: number): AsyncIterator<HostBatch, void> {
    const id = this.#ask((id) => ({ kind: 'start', id, source, skip }))
    let over = false
    const next = async (): Promise<IteratorResult<HostBatch, void>> => {
      if (over) return { done: true, value: undefined }
      const answer = await this.#answer(id)
      if (answer.kind === 'batch') {
        this.#post({ kind: 'more', id })
        return { done: false, value: answer.batch }
      }
      over = true
      this.#lines.delete(id)
      return { done: true, value: undefined }
    }
    const end = async (): Promise<IteratorResult<HostBatch, void>> => {
      if (!over) this.#post({ kind: 'end', id })
      while (!over) await next() // what was on its way
      return { done: true, value: undefined }
    }
    return { next, return: end }
  }

  #ask(message: (id: number) => DataMessage): number {
    const id = this.#next++
    this.#lines.set(id, new Line())
    this.#post(message(id))
    return id
  }

  #post(message: DataMessage): void {
    this.#worker.postMessage(message)
  }

  /** Keeps the worker's event loop alive while somebody waits. */
  async #answer(id: number): Promise<Answer> {
    if (this.#failed) throw this.#failed
    this.#worker.ref()
    try {
      return await this.#lines.get(id)!.take()
    } finally {
      this.#worker.unref()
    }
  }

  #receive(reply: DataReply): void {
    const line = this.#lines.get(reply.id)
    line?.give(reply.kind === 'failed' ? reviveError(reply.error) : reply)
  }

  #fail(what: string, cause?: Error): void {
    this.#failed ??= Object.assign(new WorkerError(`the data thread ${what}`), { cause })
    for (const line of this.#lines.values()) line.give(this.#failed)
  }
}
