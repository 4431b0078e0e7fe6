// Layers without parameters: activations and dropout.
import { UsageError } from '../native/errors.js'
import * as F from '../tensor/operators/functional.js'
import type { Tensor } from '../tensor/tensor.js'
import { Module } from './module.js'

/** Zeroes elements with probability `p` while training and scales the rest by 1/(1-p); else the identity. */
export class Dropout extends Module {
  constructor(readonly p = 0.5) {
    super()
    if (!(p >= 0 && p < 1)) throw new UsageError(`Dropout: p must be in [0, 1), it is ${p}`)
  }

  forward(x: Tensor): Tensor {
    return this.training && this.p > 0 ? F.dropout(x, this.p) : x
  }
}

/** max(x, 0), elementwise, in any shape. */
export class ReLU extends Module {
  forward(x: Tensor): Tensor {
    return x.relu()
  }
}

/** Gaussian error linear unit, elementwise, in any shape: exact, or by tanh. */
export class GELU extends Module {
  constructor(readonly approximate: 'none' | 'tanh' = 'none') {
    super()
  }

  forward(x: Tensor): Tensor {
    return x.gelu({ approximate: this.approximate })
  }
}

/** x · sigmoid(x), elementwise, in any shape. */
export class SiLU extends Module {
  forward(x: Tensor): Tensor {
    return x.silu()
  }
}

/** Hyperbolic tangent, elementwise, in any shape. */
export class Tanh extends Module {
  forward(x: Tensor): Tensor {
    return x.tanh()
  }
}
