// GPT-2 of 124 M parameters on files of tokens. On a GPU with
//   WEFT_TOKENS=<folder> npx weft train examples/multigpu/gpt2.ts --precision bf16 --graph
// The folder has train.bin and val.bin: u16 tokens of GPT-2's byte pairs and nothing else, as nanoGPT's prepare.py
// writes them. WEFT_TOKENS=synthetic makes tokens with a pattern to learn, and says so. WEFT_GPT2 changes sizes, and
// WEFT_GPT2_CHECKPOINT=1 computes activations again in the backward pass instead of keeping them:
//   WEFT_GPT2=layers=2,heads=2,width=32,length=32,vocabulary=64
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { data, defineTask, optim, UsageError } from 'weft'
import { decayGroups, Gpt2, type Gpt2Options, gpt2Small } from './gpt2-model.js'

/** The sizes that WEFT_GPT2 asks for, over those of the smallest GPT-2. */
export function sizes(text = process.env['WEFT_GPT2'] ?? ''): Gpt2Options {
  const asked = text.split(',').filter(Boolean)
  const entries = asked.map((each): [string, number] => {
    const [name = '', value] = each.split('=')
    const size = Number(value)
    if (!(name in gpt2Small) || !Number.isInteger(size) || size < 1) {
      const names = Object.keys(gpt2Small).join(', ')
      throw new UsageError(`WEFT_GPT2: ${each} must be a size of ${names}, as in layers=2`)
    }
    return [name, size]
  })
  return { ...gpt2Small, ...Object.fromEntries(entries) }
}

const size = sizes()

/** Tokens in which each follows from the one before, with a jump now and then. */
function madeTokens(count: number, seed: number): Uint16Array {
  const next = data.randomStream(seed)
  const most = Math.min(size.vocabulary, 2 ** 16)
  let token = 0
  return Uint16Array.from({ length: count }, () => {
    token = next() % 16 === 0 ? next() % most : (token * 5 + 1) % most
    return token
  })
}

const files = new Map<string, Promise<data.TokenFile>>()
/** The tokens of a split, opened once a worker. */
function tokens(split: 'train' | 'test'): Promise<data.TokenFile> {
  const folder = process.env['WEFT_TOKENS']
  if (folder === undefined) {
    throw new UsageError(
      'WEFT_TOKENS must name the folder of train.bin and val.bin (u16 tokens), or be synthetic',
    )
  }
  const name = split === 'train' ? 'train.bin' : 'val.bin'
  const path = () => {
    if (folder !== 'synthetic') return join(folder, name)
    const made = join(mkdtempSync(join(tmpdir(), 'weft-gpt2-')), name)
    const count = (split === 'train' ? 512 : 64) * size.length + 1
    writeFileSync(made, madeTokens(count, split === 'train' ? 1 : 2))
    return made
  }
  const found = files.get(name) ?? data.tokenFile(path(), { vocabulary: size.vocabulary })
  files.set(name, found)
  return found
}

export default defineTask({
  name: process.env['WEFT_TOKENS'] === 'synthetic' ? 'gpt2-synthetic' : 'gpt2',
  unit: 'sequences',
  tokensPerSample: size.length,
  defaults: { steps: 2000, batchSize: 32, evaluateEvery: 250 },
  model: () => new Gpt2({ ...size, checkpointed: process.env['WEFT_GPT2_CHECKPOINT'] === '1' }),
  data: async (request) => {
    const file = await tokens(request.split)
    const held = request.split === 'test' ? { most: 128 } : {}
    return file.sequences({ ...request, ...held, length: size.length })
  },
  loss: (model, { tokens, targets }) => model.loss(tokens, targets),
  evaluate: (model, { tokens, targets }) => {
    const count = targets.numel
    return { loss: model.loss(tokens, targets).mul(count), count }
  },
  optimizer: (parameters) =>
    optim.adamw(decayGroups(parameters), { lr: 6e-4, betas: [0.9, 0.95], weightDecay: 0.1 }),
  schedule: ({ step, totalSteps = 1 }) => {
    const rise = Math.max(1, Math.min(200, Math.floor(totalSteps / 10)))
    return optim.schedule.warmup(
      rise,
      optim.schedule.cosine(Math.max(1, totalSteps - rise), 0.1),
    )(step)
  },
  clipNorm: 1,
})
