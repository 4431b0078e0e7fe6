// A linear model whose gradient in f16 overflows under the initial loss scale on rank 1 alone: its loss there is
// y itself, so the scaled gradient of y is 65536, more than f16 holds. On other ranks it is a hundredth of that.
import { defineTask, nn, noGrad, optim, tensor } from 'weft'

class Net extends nn.Module {
  constructor() {
    super()
    this.only = new nn.Linear(2, 1, { bias: false })
    noGrad(() => this.only.weight.copy_(tensor([[0.5, 0.25]])))
  }

  forward(x) {
    return this.only.forward(x)
  }
}

export default defineTask({
  name: 'overflowing',
  model: () => new Net(),
  data: ({ rank, batchSize }) =>
    Array.from({ length: 64 }, () => ({
      x: { data: new Float32Array(2 * batchSize).fill(0.125), shape: [batchSize, 2] },
      factor: {
        data: new Float32Array(batchSize).fill(rank === 1 ? batchSize : 0.01),
        shape: [batchSize, 1],
      },
    })),
  loss: (model, { x, factor }) => model.forward(x).mul(factor).mean(),
  optimizer: (parameters) => optim.sgd(parameters, { lr: 0.1 }),
})
