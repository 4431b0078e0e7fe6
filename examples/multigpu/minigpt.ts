// miniGPT: a GPT of 6 layers, 256 wide, over 4096 word pieces of Moby Dick, 128 at a time; prints a sample at
// the end. Run it with `npx weft train examples/multigpu/minigpt.ts`.
import { defineTask, optim } from 'weft'
import { book, heldOutFrom, stretches } from './book.js'
import { generate } from './generate.js'
import { Gpt, startNormal } from './transformer.js'
import { WordPieces } from './word-pieces.js'

const vocabulary = 4096
const length = 128

interface Text {
  ids: Uint16Array
  pieces: WordPieces
}

let loaded: Text | undefined
/** The book as word pieces, which are learnt from the part that is not held out. */
function text(): Text {
  if (loaded) return loaded
  const all = book()
  const words = WordPieces.learn(all.slice(0, heldOutFrom(all.length)), vocabulary)
  // Characters that only the end of the book has take the places of the rarest words.
  const known = new Set(words.pieces)
  const missing = [...new Set(all)].filter((character) => !known.has(character))
  const pieces = new WordPieces([
    ...words.pieces.slice(0, words.pieces.length - missing.length),
    ...missing,
  ])
  loaded = { ids: pieces.encode(all), pieces }
  return loaded
}

export default defineTask({
  name: 'minigpt',
  unit: 'sequences',
  tokensPerSample: length,
  defaults: { steps: 400, batchSize: 64 },
  model: () => startNormal(new Gpt({ vocabulary, length, width: 256, heads: 8, layers: 6 })),
  data: (request) => stretches(text().ids, length, request),
  loss: (model, { tokens, targets }) => model.loss(tokens, targets),
  evaluate: (model, { tokens, targets }) => {
    const count = targets.numel
    return { loss: model.loss(tokens, targets).mul(count), count }
  },
  optimizer: (parameters) =>
    optim.adamw(parameters, { lr: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1 }),
  schedule: ({ step, totalSteps = 1 }) =>
    optim.schedule.warmup(30, optim.schedule.cosine(Math.max(1, totalSteps - 30), 0.1))(step),
  clipNorm: 1,
  finish: async ({ model, print }) => {
    const { ids, pieces } = text()
    const written = await generate(model, { start: [...ids.subarray(0, 16)], count: 120 })
    print('sample:')
    for (const line of pieces.decode(written).split('\n')) print(`  ${line}`)
  },
})
