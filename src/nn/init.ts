// How layers make their parameters: the initialisers and the mark that keeps a parameter out of scopes.
// Called by the layers; users may call them for parameters of their own.
import { rand, randn } from '../tensor/random.js'
import { keep } from '../tensor/scope.js'
import type { Tensor } from '../tensor/tensor.js'

/** Device and dtype of a layer's parameters; the default device and f32 when absent. */
export interface ParameterOptions {
  device?: string
  dtype?: 'f32' | 'f64' | 'f16' | 'bf16'
}

/** `tensor` as a trainable parameter: requires gradients and outlives any scope() around it. */
export function parameter(tensor: Tensor): Tensor {
  return keep(tensor.requiresGrad_())
}

/** Uniform in [-bound, bound). */
export function uniform(shape: number[], bound: number, options: ParameterOptions = {}): Tensor {
  return rand(shape, { ...options, low: -bound, high: bound })
}

/** Normal with mean 0 and standard deviation `std`. */
export function normal(shape: number[], std: number, options: ParameterOptions = {}): Tensor {
  return randn(shape, { ...options, std })
}
