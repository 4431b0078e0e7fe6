// One rank's way through its data: takes batches from the task's iterables, a step's worth at a time,
// looks one batch ahead so that the end of an epoch is known before the step that ends it, and moves
// host arrays to the device. Used by the stepper and the evaluation of one worker.
import { UsageError } from '../../native/errors.js'
import { tensor } from '../../tensor/operators/factory.js'
import { Tensor } from '../../tensor/tensor.js'
import type { Batch, BatchSource, HostBatch, HostTensor } from '../task.js'
import type { DataPosition } from './protocol.js'
import { inTask } from './task-call.js'
import { describeValue, requireBatch } from './task-checks.js'

/** The batches of one step. */
export interface StepBatches {
  batches: HostBatch[]
  /** Samples of each batch. */
  counts: number[]
  /** Samples of all of them. */
  samples: number
  /** No batch is left in this epoch. */
  endsEpoch: boolean
}

export type Reader = AsyncIterator<HostBatch> | Iterator<HostBatch>

/** The iterator of a batch source; throws UsageError when it is none. */
export function readerOf(source: BatchSource): Reader {
  if (typeof source === 'object' && source !== null) {
    if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]()
    if (Symbol.iterator in source) return source[Symbol.iterator]()
  }
  throw new UsageError(
    `task.data must return an iterable or an async iterable of batches, not ${describeValue(source)}`,
    { part: 'data' },
  )
}

/** The iterator behind the first `skip` batches. */
export async function readerBehind(source: BatchSource, skip: number): Promise<Reader> {
  if (skip > 0 && typeof source?.startingAt === 'function') {
    return readerOf(inTask('task.data', () => source.startingAt?.(skip)) as BatchSource)
  }
  const reader = readerOf(source)
  for (let done = 0; done < skip; done++) {
    const { value, done: ended } = await inTask('task.data', async () => reader.next())
    if (ended) break
    requireBatch(value)
    disposeBatch(value)
  }
  return reader
}

/** Samples of a checked batch: the first size of its first entry. */
export function sampleCount(batch: HostBatch): number {
  return Object.values(batch)[0]?.shape[0] ?? 1
}

function moved(entry: Tensor | HostTensor, device: string): Tensor {
  if (entry instanceof Tensor) return entry.device === device ? entry : entry.to({ device })
  const { data, shape, dtype } = entry
  return tensor(data, { shape, device, ...(dtype === undefined ? {} : { dtype }) })
}

/** The batch on `device`. Call it in a scope: host arrays become new tensors. */
export function toDevice(batch: HostBatch, device: string): Batch {
  return Object.fromEntries(
    Object.entries(batch).map(([name, entry]) => [name, moved(entry, device)]),
  )
}

/** Frees the tensors that the data yielded: they belong to the trainer. */
export function disposeBatch(batch: HostBatch): void {
  for (const entry of Object.values(batch)) if (entry instanceof Tensor) entry.dispose()
}

/** Endless training data of one rank, epoch after epoch. */
export class Feed {
  readonly #open: (epoch: number) => BatchSource | Promise<BatchSource>
  readonly #accumulate: number
  #reader!: Reader
  #next!: Promise<IteratorResult<HostBatch>>
  #epoch = -1
  #taken = 0
  #ended = true
  #samples = 0
  /** Batches of an epoch, when the data tells. */
  length: number | undefined

  constructor(open: (epoch: number) => BatchSource | Promise<BatchSource>, accumulate: number) {
    this.#open = open
    this.#accumulate = accumulate
  }

  /** Epoch of the latest step, from 0. */
  get epoch(): number {
    return this.#epoch
  }

  /** Where this rank stands, counting the latest step's batches. */
  get position(): DataPosition {
    return {
      epoch: this.#epoch,
      batches: this.#taken,
      samples: this.#samples,
      ended: this.#ended,
    }
  }

  /** Opens the first epoch, so that a task without data fails before the first step. */
  async open(): Promise<void> {
    if (this.#epoch < 0) await this.#openEpoch()
  }

  /** Opens an epoch behind its first `batches` batches, where an earlier run stood. */
  async openAt({ epoch, batches }: Pick<DataPosition, 'epoch' | 'batches'>): Promise<void> {
    this.#epoch = epoch - 1
    await this.#openEpoch(batches)
  }

  /** The batches of the next step. */
  async take(): Promise<StepBatches> {
    if (this.#ended) await this.#openEpoch()
    const batches: HostBatch[] = []
    let result = await this.#next
    while (!result.done && batches.length < this.#accumulate) {
      requireBatch(result.value)
      batches.push(result.value)
      this.#advance()
      result = await this.#next
    }
    const counts = batches.map(sampleCount)
    this.#taken += batches.length
    this.#samples = counts.reduce((sum, count) => sum + count, 0)
    this.#ended = result.done === true
    return { batches, counts, samples: this.#samples, endsEpoch: this.#ended }
  }

  /** Lets the data end its iterator, for example to stop prefetching, and frees what lies ready. */
  async close(): Promise<void> {
    if (this.#epoch < 0) return
    const ready = await this.#next.catch(() => undefined)
    if (ready && !ready.done) disposeBatch(ready.value)
    if (!this.#ended) await this.#reader.return?.()
  }

  async #openEpoch(skip = 0): Promise<void> {
    this.#epoch++
    this.#taken = skip
    const source = await this.#open(this.#epoch)
    this.length = typeof source.length === 'number' ? source.length : undefined
    this.#reader = await readerBehind(source, skip)
    this.#advance()
    const first = await this.#next
    this.#ended = first.done === true
    if (this.#ended && skip === 0)
      throw new UsageError(`task.data yielded no batch in epoch ${this.#epoch}`)
  }

  #advance(): void {
    // A rejection is seen where the batch is awaited; until then it is not unhandled.
    this.#next = (async () => inTask('task.data', () => this.#reader.next()))()
    this.#next.catch(() => {})
  }
}
