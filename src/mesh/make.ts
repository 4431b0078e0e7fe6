// Makes DistributedTensor objects for the rules, below the class itself, as tensor/operators/make.ts does for
// tensors: the class's methods need the rules and these need its constructor.
import type { Tensor } from '../tensor/tensor.js'
import type { DistributedTensor } from './distributed-tensor.js'
import type { Mesh } from './mesh.js'
import type { Placement } from './placement.js'

type DistributedClass = new (
  mesh: Mesh,
  placed: readonly Placement[],
  shape: readonly number[],
  locals: readonly Tensor[],
) => DistributedTensor

let distributedClass: DistributedClass | undefined

/** @internal Called once, by distributed-tensor.ts. */
export function provideDistributedClass(provided: DistributedClass): void {
  distributedClass = provided
}

/** @internal A distributed tensor of these local parts, by position. */
export function makeDistributed(
  mesh: Mesh,
  placed: readonly Placement[],
  shape: readonly number[],
  locals: readonly Tensor[],
): DistributedTensor {
  return new (distributedClass as DistributedClass)(mesh, placed, shape, locals)
}
