// A multilayer perceptron whose parameters outweigh its activations, for bench/zero.ts: as wide and deep as
// WEFT_BENCH_WIDTH and WEFT_BENCH_LAYERS say, over numbers that a formula makes.
import { data, defineTask, nn, optim, type Tensor } from 'weft'

const width = Number(process.env.WEFT_BENCH_WIDTH ?? 1024)
const layers = Number(process.env.WEFT_BENCH_LAYERS ?? 4)
const samples = 1024

class Net extends nn.Module {
  readonly body = new nn.Sequential(
    ...Array.from({ length: layers }, () => [new nn.Linear(width, width), new nn.ReLU()]).flat(),
  )
  readonly head = new nn.Linear(width, 1)

  forward(x: Tensor): Tensor {
    return this.head.forward(this.body.forward(x))
  }
}

export default defineTask({
  name: 'wide-mlp',
  model: () => new Net(),
  data: (request) =>
    data.loader({
      ...request,
      length: samples,
      collate: (indices) => ({
        x: {
          data: Float32Array.from({ length: indices.length * width }, (_, i) =>
            Math.sin((indices[Math.floor(i / width)]! + 1) * ((i % width) + 1)),
          ),
          shape: [indices.length, width],
        },
        y: { data: Float32Array.from(indices, (i) => Math.cos(i)), shape: [indices.length, 1] },
      }),
    }),
  loss: (model: Net, { x, y }) => model.forward(x).sub(y).pow(2).mean(),
  optimizer: (parameters) => optim.adamw(parameters, { lr: 1e-3 }),
})
