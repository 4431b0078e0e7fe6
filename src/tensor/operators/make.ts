// Makes Tensor objects for the operators, below the class itself: Tensor's methods need the operators
// and these need its constructor. tensor.ts puts the class here when it is loaded; whatever makes the
// first tensor (factory.ts, random.ts) loads it.
import type { Tensor } from '../tensor.js'

type TensorClass = new (handle: number) => Tensor

let tensorClass: TensorClass | undefined

/** @internal Called once, by tensor.ts. */
export function provideTensorClass(provided: TensorClass): void {
  tensorClass = provided
}

/** @internal A Tensor that owns `handle` from now on. */
export function makeTensor(handle: number): Tensor {
  return new (tensorClass as TensorClass)(handle)
}
