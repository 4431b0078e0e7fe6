// The regression over a frozen layer that every rank fills with numbers of its own, and a buffer of integers:
// replicas agree only where rank 0's values reach the others.
import { randomInt } from 'node:crypto'
import { defineTask, nn, tensor } from 'weft'
import { parts, squaredError } from './regression.mjs'

const own = (count) => Float32Array.from({ length: count }, () => randomInt(2 ** 24) / 2 ** 24)

class Frozen extends nn.Module {
  constructor() {
    super()
    this.features = new nn.Linear(8, 16)
    for (const p of this.features.parameters()) p.requiresGrad_(false)
    this.scale = nn.parameter(tensor(own(16)), { requiresGrad: false })
    this.registerBuffer('order', tensor(Int32Array.from({ length: 16 }, () => randomInt(1000))))
    this.features.loadStateDict({
      weight: tensor(own(128), { shape: [16, 8] }),
      bias: tensor(own(16)),
    })
    this.last = new nn.Linear(16, 1)
  }

  forward(x) {
    return this.last.forward(this.features.forward(x).tanh().mul(this.scale))
  }
}

export default defineTask({
  ...parts,
  name: 'frozen',
  model: () => new Frozen(),
  loss: (model, batch) => squaredError(model, batch).mean(),
})
