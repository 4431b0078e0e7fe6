// A small regression: fits a fixed random function of 8 inputs. Rank r of w sees every w-th sample, so
// one device with the whole batch and w devices with their shares compute the same mean.
import { data, defineTask, nn, optim } from 'weft'

const inputs = 8
const samples = 2048
const next = data.randomStream(99)
const uniform = () => next() / 2 ** 31 - 1
const xs = Float32Array.from({ length: samples * inputs }, uniform)
const ys = Float32Array.from({ length: samples }, (_, i) => {
  const [a, b, c] = xs.subarray(i * inputs, i * inputs + 3)
  return Math.sin(2 * a) + b * c
})

class Net extends nn.Module {
  constructor(width = 32) {
    super()
    this.first = new nn.Linear(inputs, width)
    this.middle = new nn.Linear(width, width)
    this.last = new nn.Linear(width, 1)
  }

  forward(x) {
    const hidden = this.middle.forward(this.first.forward(x).tanh()).tanh()
    return this.last.forward(hidden)
  }
}

export function shares(request, collateRows = (rows) => rows) {
  const { split, rank, world, seed, epoch, batchSize } = request
  const training = split === 'train'
  return data.loader({
    length: training ? samples : 200,
    rank,
    world,
    seed,
    epoch,
    batchSize,
    split,
    collate: (indices) => {
      const rows = collateRows([...indices])
      const x = new Float32Array(rows.length * inputs)
      for (const [i, row] of rows.entries()) {
        x.set(xs.subarray(row * inputs, (row + 1) * inputs), i * inputs)
      }
      const y = Float32Array.from(rows, (row) => ys[row])
      return {
        x: { data: x, shape: [rows.length, inputs] },
        y: { data: y, shape: [rows.length, 1] },
      }
    },
  })
}

export const squaredError = (model, { x, y }) => model.forward(x).sub(y).pow(2)

export const parts = {
  name: 'regression',
  model: () => new Net(),
  data: (request) => shares(request),
  loss: (model, batch) => squaredError(model, batch).mean(),
  evaluate: (model, batch) => ({
    error: squaredError(model, batch).sum(),
    count: batch.x.shape[0],
  }),
  optimizer: (parameters) => optim.adamw(parameters, { lr: 3e-3 }),
}

export default defineTask(parts)
