// The smallest task there is: one parameter with a few elements, its sum as the loss. What its steps
// cost is coordination; measureCoordination() trains it.
import { Module } from '../nn/module.js'
import { sgd } from '../optim/sgd.js'
import { zeros } from '../tensor/factory.js'
import type { Tensor } from '../tensor/tensor.js'
import { defineTask } from './task.js'

class Empty extends Module {
  readonly weight = zeros([4]).requiresGrad_()

  override forward(): Tensor {
    return this.weight.sum()
  }
}

const batch = { x: { data: new Float32Array(1), shape: [1] } }

export default defineTask({
  name: 'empty',
  model: () => new Empty(),
  data: function* () {
    for (;;) yield batch
  },
  loss: (model) => model.forward(),
  optimizer: (parameters) => sgd(parameters, { lr: 0 }),
})
