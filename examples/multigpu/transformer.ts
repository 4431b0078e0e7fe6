// The transformer block that the example models share: pre-norm attention and a GELU network, with optional
// rotary positions (Su et al. 2021).
import { arange, functional as F, keep, nn, noGrad, randn, scope, type Tensor } from 'weft'

export interface BlockOptions {
  width: number
  heads: number
  causal: boolean
  /** Width of the hidden layer over `width`. */
  expansion?: number
  bias?: boolean
  dropout?: number
  position?: (qkv: Tensor) => Tensor
}

/**
 * Shapes: (batch, length, width) → the same. A stack of blocks passes on the residual stream and the branch that is still
 * to be added to it, so that each sum is taken in the kernel of the norm that follows.
 */
export class Block extends nn.Module {
  norm1: nn.RMSNorm
  attention: nn.MultiHeadAttention
  norm2: nn.RMSNorm
  up: nn.Linear
  down: nn.Linear
  dropout: nn.Dropout

  constructor(o: BlockOptions) {
    super()
    const hidden = o.width * (o.expansion ?? 4)
    const bias = o.bias ?? false
    this.norm1 = new nn.RMSNorm(o.width)
    this.attention = new nn.MultiHeadAttention(o.width, o.heads, {
      causal: o.causal,
      bias,
      ...(o.position ? { position: o.position } : {}),
    })
    this.norm2 = new nn.RMSNorm(o.width)
    this.up = new nn.Linear(o.width, hidden, { bias, gelu: true })
    this.down = new nn.Linear(hidden, o.width, { bias })
    this.dropout = new nn.Dropout(o.dropout ?? 0)
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

/** x behind all blocks, the last branch added. */
export function summed(blocks: readonly Block[], x: Tensor): Tensor {
  let [stream, branch]: [Tensor, Tensor?] = [x]
  for (const block of blocks) [stream, branch] = block.forward(stream, branch)
  return branch ? stream.add(branch) : stream
}

/** Rotates pairs of features by angles that grow with the position. Tables (length, width/2) live on the default device. */
export class Rotary extends nn.Module {
  declare cos: Tensor
  declare sin: Tensor

  constructor(
    length: number,
    readonly width: number,
  ) {
    super()
    const half = width / 2
    const rates = arange(half)
      .mul(-Math.log(10000) / half)
      .exp() // (D/2,)
    const angles = arange(length).unsqueeze(1).mul(rates) // (T,1)·(D/2,) → (T,D/2)
    this.registerBuffer('cos', keep(angles.cos()))
    this.registerBuffer('sin', keep(angles.sin()))
    for (const t of [rates, angles]) t.dispose()
  }

  /** Turns q and k of (batch, length, 3, heads, width). */
  forward(qkv: Tensor): Tensor {
    return F.rotary(qkv, this.cos, this.sin, 2)
  }
}

export interface GptOptions {
  vocabulary: number
  length: number
  width: number
  heads: number
  layers: number
  dropout?: number
}

/** A causal language model. Shapes: tokens (batch, length) → logits (batch, length, vocabulary). */
export class Gpt extends nn.Module {
  embedding: nn.Embedding
  rotary: Rotary
  blocks: Block[]
  norm: nn.RMSNorm
  head: nn.Linear

  constructor(readonly options: GptOptions) {
    super()
    const { vocabulary, length, width, heads, layers, dropout = 0 } = options
    this.embedding = new nn.Embedding(vocabulary, width, { std: 0.02 })
    this.rotary = new Rotary(length, width / heads)
    const position = (qkv: Tensor) => this.rotary.forward(qkv)
    this.blocks = Array.from(
      { length: layers },
      () => new Block({ width, heads, causal: true, dropout, position }),
    )
    this.norm = new nn.RMSNorm(width)
    this.head = new nn.Linear(width, vocabulary, { bias: false })
  }

  forward(tokens: Tensor): Tensor {
    return this.head.forward(this.#features(tokens)) // (B,T,V)
  }

  /** Mean cross entropy over targets that are not -100, without the logits of all tokens. */
  loss(tokens: Tensor, targets: Tensor): Tensor {
    return F.linearCrossEntropy(this.#features(tokens), this.head.weight, targets)
  }

  /** What the head multiplies: (batch, length, width). */
  #features(tokens: Tensor): Tensor {
    let stream = this.embedding.forward(tokens)
    let branch: Tensor | undefined
    for (const block of this.blocks) [stream, branch] = block.forward(stream, branch)
    return branch ? this.norm.addForward(branch, stream)[1] : this.norm.forward(stream)
  }
}

/** Starts every weight of two dimensions or more normal with deviation `std`; returns the model. */
export function startNormal<M extends nn.Module>(model: M, std = 0.02): M {
  scope(() =>
    noGrad(() => {
      for (const weight of model.parameters()) {
        const { shape, device } = weight
        if (shape.length > 1) weight.copy_(randn(shape, { std, device }))
      }
    }),
  )
  return model
}
