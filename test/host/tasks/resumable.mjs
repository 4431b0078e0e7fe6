// A task with all that a resumed run must take up again: dropout, shuffled data, a schedule over the whole run, an
// optimizer with state, a buffer that training changes, an evaluation. Its middle layer makes buckets large enough
// for the ring. WEFT_TEST_RESUME changes a part of it, for tests of what does not fit.
import { data, defineTask, functional as F, nn, noGrad, optim, zeros } from 'weft'

const change = process.env.WEFT_TEST_RESUME ?? 'none'
const inputs = 8
const width = change === 'width' ? 96 : 128

class Net extends nn.Module {
  constructor() {
    super()
    this.first = new nn.Linear(inputs, width)
    this.middle = new nn.Linear(width, width)
    this.last = new nn.Linear(width, 1)
    this.registerBuffer('passes', zeros([1]))
    if (change === 'layer') this.spare = new nn.Linear(1, 1)
  }

  forward(x) {
    if (this.training) noGrad(() => this.passes.add_(1))
    const hidden = F.dropout(this.first.forward(x).tanh(), this.training ? 0.1 : 0)
    const y = this.last.forward(this.middle.forward(hidden).tanh())
    return this.spare ? this.spare.forward(y) : y
  }
}

const samples = 1000
const rows = Array.from({ length: samples }, (_, i) =>
  Array.from({ length: inputs }, (_, j) => Math.sin(1 + i * 1.7 + j * j * 0.3)),
)

const collate = (indices) => ({
  x: {
    data: Float32Array.from(Array.from(indices, (i) => rows[i]).flat()),
    shape: [indices.length, inputs],
  },
  y: {
    data: Float32Array.from(indices, (i) => rows[i][0] * rows[i][1] + rows[i][2]),
    shape: [indices.length, 1],
  },
})

/** Batches that can only be read from the first on. */
async function* plain(source) {
  yield* source
}

export default defineTask({
  name: change === 'name' ? 'another' : 'resumable',
  model: () => new Net(),
  data: (request) => {
    const length = request.split === 'train' ? samples : 64
    const source = data.loader({ ...request, length, collate })
    return change === 'plain' ? plain(source) : source
  },
  loss: (model, { x, y }) => model.forward(x).sub(y).pow(2).mean(),
  evaluate: (model, { x, y }) => ({
    error: model.forward(x).sub(y).pow(2).sum(),
    count: x.shape[0],
  }),
  optimizer: (parameters) =>
    change === 'sgd'
      ? optim.sgd(parameters, { lr: 0.01, momentum: 0.9 })
      : change === 'order'
        ? optim.adamw([...parameters].reverse(), { lr: 0.01 })
        : change === 'stateless'
          ? { lr: 0.1, step() {}, dispose() {} }
          : optim.adamw(parameters, { lr: 0.01 }),
  schedule: ({ step, totalSteps = 1 }) =>
    Math.min(1, (step + 1) / 5) * (1 - step / (totalSteps + 1)),
})
