// The prefetching loader: cuts a rank's indices in batches and makes the next ones while the present one is
// used. Tasks return it from `data`; the trainer's workers iterate it.
import { UsageError } from '../native/errors.js'
import { forTraining, type SamplerOptions, sampleIndices } from './sampler.js'

/** What data.loader() is told: the samples of this rank (SamplerOptions) and how batches are made of them. */
export interface LoaderOptions<B> extends SamplerOptions {
  /** Samples a batch. */
  batchSize: number
  /**
   * Makes one batch from sample indices (numbers below 2^32; a tensor of them is i64); may be asynchronous. `batch`
   * counts from 0 in the epoch.
   */
  collate: (indices: Uint32Array, batch: number) => B | Promise<B>
  /** Leave out a last batch that is not full (default: for `split: 'train'` only). */
  dropLastBatch?: boolean
  /** Batches made ahead (default 2). */
  prefetch?: number
}

/**
 * Batches of one epoch on one rank: of all its samples in order, or for `split: 'train'` of shuffled ones, full batches
 * only. `length` is their number. Each iteration starts the epoch anew.
 */
export class Loader<B> implements AsyncIterable<B> {
  readonly #options: LoaderOptions<B>
  readonly #indices: Uint32Array
  readonly length: number

  constructor(options: LoaderOptions<B>) {
    const { batchSize, prefetch = 2, dropLastBatch = forTraining(options) } = options
    if (typeof options.collate !== 'function') {
      throw new UsageError('loader: collate must be a function of indices that makes a batch')
    }
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new UsageError(`loader: batchSize must be a whole number from 1, it is ${batchSize}`)
    }
    if (!Number.isInteger(prefetch) || prefetch < 0) {
      throw new UsageError(`loader: prefetch must be a whole number from 0, it is ${prefetch}`)
    }
    this.#options = options
    this.#indices = sampleIndices(options)
    const batches = this.#indices.length / batchSize
    this.length = dropLastBatch ? Math.floor(batches) : Math.ceil(batches)
  }

  /** Batches of the epoch, the next ones made ahead. */
  [Symbol.asyncIterator](): AsyncGenerator<B, void, void> {
    return this.#batches(0)
  }

  /** The batches from number `batch` on; those before are not made. A resumed run begins there. */
  startingAt(batch: number): AsyncIterable<B> {
    if (!Number.isInteger(batch) || batch < 0) {
      throw new UsageError(`loader: a batch is a whole number from 0, not ${batch}`)
    }
    return { [Symbol.asyncIterator]: () => this.#batches(batch) }
  }

  async *#batches(first: number): AsyncGenerator<B, void, void> {
    const { batchSize, collate, prefetch = 2 } = this.#options
    const ahead: Promise<B>[] = []
    let next = first
    const make = (): void => {
      if (next >= this.length) return
      const batch = next++
      const share = this.#indices.subarray(batch * batchSize, (batch + 1) * batchSize)
      const made = (async () => collate(share, batch))()
      made.catch(() => {}) // reported where it is awaited, also when the iteration ends before
      ahead.push(made)
    }
    for (let i = 0; i <= prefetch; i++) make()
    while (ahead.length > 0) {
      const batch = await (ahead.shift() as Promise<B>)
      make()
      yield batch
    }
  }
}

/** Batches of `options.batchSize` samples; see {@link Loader}. A task hands its request on: `{ ...request, … }`. */
export function loader<B>(options: LoaderOptions<B>): Loader<B> {
  return new Loader(options)
}
