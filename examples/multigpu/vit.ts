// A vision transformer (Dosovitskiy et al. 2021) for square colour images, with several class tokens whose
// mean is classified. vit-cifar10.ts trains it; the training benchmark times it.
import { functional as F, nn, randn, type Tensor } from 'weft'
import { Block, summed } from './transformer.js'

export interface VitOptions {
  /** Pixels along an edge; default 32. */
  side?: number
  /** Pixels along a patch's edge; default 4. */
  patch?: number
  /** Default 256. */
  width?: number
  /** Default 8. */
  heads?: number
  /** Default 6. */
  layers?: number
  /** Class tokens; default 16. */
  tokens?: number
  /** Default 10. */
  classes?: number
}

/** Shapes: images (batch, 3, side, side) → logits (batch, classes). */
export class Vit extends nn.Module {
  embed: nn.Linear
  position: Tensor
  tokens: Tensor
  blocks: Block[]
  norm: nn.RMSNorm
  head: nn.Linear
  readonly side: number
  readonly patch: number

  constructor(options: VitOptions = {}) {
    super()
    const { side = 32, patch = 4, width = 256, heads = 8, layers = 6 } = options
    const { tokens = 16, classes = 10 } = options
    this.side = side
    this.patch = patch
    this.embed = new nn.Linear(3 * patch * patch, width)
    this.position = nn.parameter(randn([1, (side / patch) ** 2 + tokens, width]))
    this.tokens = nn.parameter(randn([1, tokens, width]))
    this.blocks = Array.from(
      { length: layers },
      () => new Block({ width, heads, causal: false, bias: true }),
    )
    this.norm = new nn.RMSNorm(width)
    this.head = new nn.Linear(width, classes)
  }

  forward(images: Tensor): Tensor {
    const [batch = 0] = images.shape
    const { patch } = this
    const n = this.side / patch
    const patches = images
      .view([batch, 3, n, patch, n, patch])
      .permute([0, 2, 4, 3, 5, 1]) // (B,n,n,P,P,3)
      .reshape([batch, n * n, 3 * patch * patch])
    const tokens = this.tokens.expand([batch, -1, -1]) // (B,K,C)
    const start = F.cat([tokens, this.embed.forward(patches)], 1).add(this.position) // (B,K+n²,C)
    const x = summed(this.blocks, start)
    const mean = x.narrow(1, 0, this.tokens.size(1)).mean(1) // (B,C)
    return this.head.forward(this.norm.forward(mean))
  }

  /** Mean cross entropy. */
  loss(images: Tensor, labels: Tensor): Tensor {
    return F.crossEntropy(this.forward(images), labels)
  }
}
