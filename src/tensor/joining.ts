// Joining tensors: cat along a dimension, stack along a new one. All on one device.
import { words } from '../native/addon.js'
import { Op } from '../native/operators.js'
import { result, writeTensors } from './invoke.js'
import type { Tensor } from './tensor.js'

/** Tensors one after the other along `dim`; other sizes must match. */
export function cat(tensors: readonly Tensor[], dim = 0): Tensor {
  const at = writeTensors(0, tensors)
  words[at] = dim
  return result(Op.cat, at + 1)
}

/** Tensors of one shape along a new dimension `dim`. */
export function stack(tensors: readonly Tensor[], dim = 0): Tensor {
  const at = writeTensors(0, tensors)
  words[at] = dim
  return result(Op.stack, at + 1)
}
