// Layers one after another.
import type { Tensor } from '../tensor/tensor.js'
import { Module } from './module.js'

/** Feeds each layer's result to the next. */
export class Sequential extends Module {
  readonly layers: Module[]

  constructor(...layers: Module[]) {
    super()
    this.layers = layers
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce((value, layer) => layer.forward(value), x)
  }
}
