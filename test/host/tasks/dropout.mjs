// The regression with dropout: its steps draw random numbers on the device.
import { defineTask, functional as F, nn } from 'weft'
import { parts } from './regression.mjs'

class Net extends nn.Module {
  constructor() {
    super()
    this.first = new nn.Linear(8, 64)
    this.last = new nn.Linear(64, 1)
  }

  forward(x) {
    return this.last.forward(F.dropout(this.first.forward(x).tanh(), 0.25))
  }
}

export default defineTask({
  ...parts,
  name: 'dropout',
  model: () => new Net(),
  evaluate: undefined,
  loss: (model, { x, y }) => model.forward(x).sub(y).pow(2).mean(),
})
