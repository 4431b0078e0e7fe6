// How layers make their parameters: the initialisers and the mark that keeps a parameter out of scopes.
// Called by the layers; users may call them for parameters of their own.
import { UsageError } from '../native/errors.js'
import { rand, randn } from '../tensor/operators/random.js'
import { markParameter } from '../tensor/parameter-mark.js'
import { keep } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'

/** Device and dtype of a layer's parameters; the default device and f32 when absent. */
export interface ParameterOptions {
  device?: string
  dtype?: 'f32' | 'f64' | 'f16' | 'bf16'
}

/**
 * `tensor` as a parameter of the module that holds it: it outlives any scope() around it and requires gradients,
 * unless it is made frozen. `requiresGrad_(true)` thaws it.
 */
export function parameter(tensor: Tensor, options: { requiresGrad?: boolean } = {}): Tensor {
  markParameter(tensor)
  return keep(tensor.requiresGrad_(options.requiresGrad ?? true))
}

/** `value` where it is a whole number from 1; else a UsageError that names the layer and what was given. */
export function requireSize(layer: string, what: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 1) return value
  throw new UsageError(`${layer}: ${what} must be a whole number from 1, it is ${value}`)
}

/** `value` where it is a finite number from 0; else a UsageError that names the layer and what was given. */
export function requireNotNegative(layer: string, what: string, value: number): number {
  if (Number.isFinite(value) && value >= 0) return value
  throw new UsageError(`${layer}: ${what} must be a number from 0, it is ${value}`)
}

/** Uniform in [-bound, bound). */
export function uniform(shape: number[], bound: number, options: ParameterOptions = {}): Tensor {
  return rand(shape, { ...options, low: -bound, high: bound })
}

/** Normal with mean 0 and standard deviation `std`. */
export function normal(shape: number[], std: number, options: ParameterOptions = {}): Tensor {
  return randn(shape, { ...options, std })
}
