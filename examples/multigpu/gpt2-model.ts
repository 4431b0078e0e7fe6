// GPT-2 (Radford et al. 2019): learned positions, layer norms before attention and network, GELU in its tanh form,
// the embedding as the head. gpt2.ts trains it, bench/training/workloads.ts times it.
import { arange, checkpoint, functional as F, nn, noGrad, randn, scope, type Tensor } from 'weft'

export interface Gpt2Options {
  vocabulary: number
  length: number
  width: number
  heads: number
  layers: number
  dropout?: number
  /** Compute each block's activations again in the backward pass instead of keeping them. */
  checkpointed?: boolean
}

/** The sizes of the smallest GPT-2: 124 M parameters, the vocabulary a multiple of 128. */
export const gpt2Small: Gpt2Options = {
  vocabulary: 50304,
  length: 1024,
  width: 768,
  heads: 12,
  layers: 12,
}

/** Shapes: (batch, length, width) → the same. The branch is added to the stream in the kernel of the norm that follows. */
class Block extends nn.Module {
  norm1: nn.LayerNorm
  attention: nn.MultiHeadAttention
  norm2: nn.LayerNorm
  up: nn.Linear
  down: nn.Linear
  dropout: nn.Dropout

  constructor({ width, heads, dropout = 0 }: Gpt2Options) {
    super()
    this.norm1 = new nn.LayerNorm(width)
    this.attention = new nn.MultiHeadAttention(width, heads, { causal: true })
    this.norm2 = new nn.LayerNorm(width)
    this.up = new nn.Linear(width, 4 * width, { gelu: true })
    this.down = new nn.Linear(4 * width, width)
    this.dropout = new nn.Dropout(dropout)
  }

  forward(stream: Tensor, branch?: Tensor): [stream: Tensor, branch: Tensor] {
    const [x, normed] = branch
      ? this.norm1.addForward(branch, stream)
      : [stream, this.norm1.forward(stream)]
    const attended = this.dropout.forward(this.attention.forward(normed))
    const [a, next] = this.norm2.addForward(attended, x)
    return [a, this.dropout.forward(this.down.forward(this.up.forward(next)))]
  }
}

/** Shapes: tokens (batch, length) → logits (batch, length, vocabulary). */
export class Gpt2 extends nn.Module {
  tokens: nn.Embedding
  positions: nn.Embedding
  blocks: Block[]
  norm: nn.LayerNorm
  dropout: nn.Dropout

  constructor(readonly options: Gpt2Options) {
    super()
    const { vocabulary, length, width, layers, dropout = 0 } = options
    this.tokens = new nn.Embedding(vocabulary, width, { std: 0.02 })
    this.positions = new nn.Embedding(length, width, { std: 0.02 })
    this.blocks = Array.from({ length: layers }, () => new Block(options))
    this.norm = new nn.LayerNorm(width)
    this.dropout = new nn.Dropout(dropout)
    scope(() => noGrad(() => this.#start()))
  }

  forward(tokens: Tensor): Tensor {
    return F.linear(this.#features(tokens), this.tokens.weight) // tied
  }

  /** Mean cross entropy over targets that are not -100, without the logits of all tokens. */
  loss(tokens: Tensor, targets: Tensor): Tensor {
    return F.linearCrossEntropy(this.#features(tokens), this.tokens.weight, targets)
  }

  /** What the head multiplies: (batch, length, width). */
  #features(tokens: Tensor): Tensor {
    const [, length = 0] = tokens.shape
    const places = arange(length, { dtype: 'i64', device: tokens.device })
    let stream = this.dropout.forward(
      this.tokens.forward(tokens).add(this.positions.forward(places)),
    )
    let branch: Tensor | undefined
    for (const block of this.blocks) {
      const forward = (x: Tensor, added?: Tensor) => block.forward(x, added)
      if (!this.options.checkpointed) [stream, branch] = forward(stream, branch)
      else if (branch) [stream, branch] = checkpoint(forward, stream, branch)
      else [stream, branch] = checkpoint(forward, stream)
    }
    return branch ? this.norm.addForward(branch, stream)[1] : this.norm.forward(stream)
  }

  /** Weights normal with deviation 0.02, less by √(2 · layers) where a block writes to the residual; biases 0. */
  #start(): void {
    const less = 0.02 / Math.sqrt(2 * this.options.layers)
    for (const [name, weight] of this.namedParameters()) {
      if (name.includes('norm')) continue
      if (weight.rank === 1) weight.zero_()
      else {
        const std = /(down|projection)\.weight$/.test(name) ? less : 0.02
        weight.copy_(randn([...weight.shape], { std, device: weight.device }))
      }
    }
  }
}

/** AdamW with weight decay on matrices alone, as GPT-2 is trained. */
export function decayGroups(parameters: readonly Tensor[]) {
  const matrices = parameters.filter((p) => p.rank > 1)
  const vectors = parameters.filter((p) => p.rank < 2)
  return [{ params: matrices }, { params: vectors, options: { weightDecay: 0 } }]
}
