// Sequence reversal: `<BOS> a b c <SEP> c b a <EOS>`. The model reads the first half and must write the second.
// Run it with `npx weft train examples/multigpu/reverse.ts`.
import { data, defineTask, optim } from 'weft'
import { Gpt } from './transformer.js'

const vocabulary = 36
const length = 64
const [PAD, BOS, SEP, EOS, first] = [0, 1, 2, 3, 4]
const longest = 16

/** Tokens (batch, 64) and targets shifted by one; only the reversed half counts (-100 elsewhere). */
function batch(samples: number, next: () => number) {
  const tokens = new Int32Array(samples * length).fill(PAD)
  const targets = new Int32Array(samples * length).fill(-100)
  for (let s = 0; s < samples; s++) {
    const n = 1 + (next() % longest)
    const word = Array.from({ length: n }, () => first + (next() % (vocabulary - first)))
    const row = [BOS, ...word, SEP, ...word.toReversed(), EOS]
    for (let t = 0; t + 1 < row.length; t++) {
      tokens[s * length + t] = row[t] as number
      if (t > n) targets[s * length + t] = row[t + 1] as number
    }
  }
  const shape = [samples, length]
  return { tokens: { data: tokens, shape }, targets: { data: targets, shape } }
}

const batchesAnEpoch = 100

export default defineTask({
  name: 'reverse',
  unit: 'sequences',
  defaults: { steps: 600, batchSize: 16 },
  model: () => new Gpt({ vocabulary, length, width: 128, heads: 4, layers: 2 }),
  // Every batch is new: the test split draws from another seed, so it holds fresh sequences.
  data: ({ split, rank, seed, epoch, batchSize }) => {
    const next = data.randomStream(seed, epoch, rank, split === 'train' ? 0 : 1)
    const count = split === 'train' ? batchesAnEpoch : 4
    return {
      length: count,
      *[Symbol.iterator]() {
        for (let b = 0; b < count; b++) yield batch(batchSize, next)
      },
    }
  },
  loss: (model, { tokens, targets }) => model.loss(tokens, targets),
  evaluate: (model, { tokens, targets }) => {
    const counts = targets.ge(0)
    const right = model.forward(tokens).argmax(-1).eq(targets)
    return { accuracy: right.mul(counts).sum(), count: counts.sum() }
  },
  optimizer: (parameters) => optim.adamw(parameters, { lr: 2e-3, weightDecay: 0.01 }),
  schedule: ({ step, totalSteps = 1 }) =>
    optim.schedule.warmup(30, optim.schedule.cosine(Math.max(1, totalSteps - 30), 0.05))(step),
  clipNorm: 1,
})
