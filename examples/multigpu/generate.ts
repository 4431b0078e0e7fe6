// Writing with a trained language model: one token after the other, drawn from the model's own chances. The
// endings of char-gpt.ts and minigpt.ts call it.
import { data, noGrad, scope, type Tensor, tensor } from 'weft'
import type { Gpt } from './transformer.js'

export interface GenerateOptions {
  /** The tokens to go on from. */
  start: readonly number[]
  /** Tokens to write. */
  count: number
  /** Below 1 likely tokens become likelier; default 0.8. */
  temperature?: number
  seed?: number
}

/** Chances of the next token after `context`: (vocabulary,). */
function nextToken(model: Gpt, context: readonly number[], temperature: number): Tensor {
  return scope(() =>
    noGrad(() => {
      const device = model.head.weight.device
      const tokens = tensor(Int32Array.from(context), { shape: [1, context.length], device })
      const last = model.forward(tokens).select(1, -1) // (1,V)
      return last
        .mul(1 / temperature)
        .softmax(-1)
        .view([-1])
    }),
  )
}

/** `start` and `count` tokens after it. */
export async function generate(model: Gpt, options: GenerateOptions): Promise<number[]> {
  const { start, count, temperature = 0.8, seed = 7 } = options
  const next = data.randomStream(seed)
  const written = [...start]
  for (let n = 0; n < count; n++) {
    using row = nextToken(model, written.slice(-model.options.length), temperature)
    const chances = (await row.data()) as Float32Array
    let draw = next() / 2 ** 32
    let pick = 0
    while (pick < chances.length - 1 && draw >= (chances[pick] as number))
      draw -= chances[pick++] as number
    written.push(pick)
  }
  return written
}
