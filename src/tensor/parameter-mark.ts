// Which tensors were once asked for gradients. A module takes those in its fields for its parameters, also when
// they are frozen later; requiresGrad_(), the `requiresGrad` option and nn.parameter() mark them.
import type { TensorObject } from './tensor-object.js'

const asked = new WeakSet<TensorObject>()

/** Marks `tensor` as a parameter, for good. */
export function markParameter(tensor: TensorObject): void {
  asked.add(tensor)
}

/** Was it asked for gradients, by whatever way and however long ago? */
export function isParameter(tensor: TensorObject): boolean {
  return asked.has(tensor)
}
