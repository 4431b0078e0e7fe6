// Which samples a rank sees, in which order: a pure function of seed, epoch, rank and world. No state, so a
// run can be resumed or checked from its numbers alone. The loader calls it; tests hold its properties.
import { UsageError } from '../native/errors.js'

/** Which samples a rank sees in an epoch, and in which order: a pure function of these numbers. */
export interface SamplerOptions {
  /** Samples in the data set. */
  length: number
  rank?: number
  world?: number
  seed?: number
  epoch?: number
  /**
   * What the samples are for; sets the defaults below. Without it as for 'test': in order, and nothing left out.
   * The trainer's ranks must get as many batches of as many samples, so training data needs 'train'.
   */
  split?: 'train' | 'test'
  /** Shuffle all samples anew each epoch (default: for 'train' only). */
  shuffle?: boolean
  /**
   * true (default for 'train'): every rank gets floor(length / world) samples, the last few of the permutation are
   * left out. false: shares differ by at most one and every sample appears exactly once.
   */
  dropLast?: boolean
}

/** Indices are 32 bits wide. */
const mostSamples = 2 ** 32 - 1

/** Is it for training? Throws UsageError where `split` is no split. */
export function forTraining({ split }: Pick<SamplerOptions, 'split'>): boolean {
  if (split === undefined || split === 'train' || split === 'test') return split === 'train'
  throw new UsageError(`sampler: split must be 'train' or 'test', it is ${JSON.stringify(split)}`)
}

/** Indices of one rank's share of one epoch, in order. Ranks' shares are disjoint. */
export function sampleIndices(options: SamplerOptions): Uint32Array {
  const {
    length,
    rank = 0,
    world = 1,
    seed = 0,
    epoch = 0,
    shuffle = forTraining(options),
    dropLast = forTraining(options),
  } = options
  requireWhole('length', length, mostSamples)
  requireWhole('seed', seed, Number.MAX_SAFE_INTEGER)
  requireWhole('epoch', epoch, Number.MAX_SAFE_INTEGER)
  if (
    !Number.isInteger(world) ||
    world < 1 ||
    !Number.isInteger(rank) ||
    rank < 0 ||
    rank >= world
  ) {
    throw new UsageError(`sampler: rank ${rank} is not in 0..${world - 1}`)
  }
  const order = new Uint32Array(length)
  for (let i = 0; i < length; i++) order[i] = i
  if (shuffle) permute(order, seed, epoch)
  const most = dropLast ? Math.floor(length / world) : Math.ceil((length - rank) / world)
  const share = new Uint32Array(Math.max(0, most))
  for (let i = 0; i < share.length; i++) share[i] = order[i * world + rank] as number
  return share
}

function requireWhole(name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= most) return
  throw new UsageError(`sampler: ${name} must be a whole number from 0 to ${most}, it is ${value}`)
}

/** Random whole numbers below 2^32 from a seed: splitmix32, the same on every machine. */
export function randomStream(...seeds: number[]): () => number {
  let state = 0x9e3779b9
  for (const seed of seeds) {
    state = mix(state ^ (seed >>> 0))
    state = mix(state ^ Math.floor(seed / 2 ** 32))
  }
  return () => {
    state = (state + 0x9e3779b9) | 0
    return mix(state) >>> 0
  }
}

function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
  return x ^ (x >>> 15)
}

/** Fisher-Yates, unbiased: draws that would favour low numbers are thrown away. */
function permute(order: Uint32Array, seed: number, epoch: number): void {
  const next = randomStream(seed, epoch)
  for (let i = order.length - 1; i > 0; i--) {
    const bound = i + 1
    const limit = 2 ** 32 - (2 ** 32 % bound)
    let draw = next()
    while (draw >= limit) draw = next()
    const j = draw % bound
    const held = order[i] as number
    order[i] = order[j] as number
    order[j] = held
  }
}
