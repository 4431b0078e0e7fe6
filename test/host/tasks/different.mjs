// A model whose width depends on the rank's device: replicas that cannot agree.
import { defaultDevice, defineTask, nn } from 'weft'
import { parts } from './regression.mjs'

class Net extends nn.Module {
  constructor() {
    super()
    this.only = new nn.Linear(2, defaultDevice().endsWith('0') ? 2 : 3)
  }

  forward(x) {
    return this.only.forward(x)
  }
}

export default defineTask({ ...parts, name: 'different', model: () => new Net() })
