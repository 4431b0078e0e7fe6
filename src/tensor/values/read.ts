// Values that leave a device. Each copies through staging memory after the work enqueued so far on
// the current stream and resolves when it is there; the event loop never blocks. Rejects with what
// the device found meanwhile (an index out of range: UsageError; a lost device:
// FabricPoisonedError).
import { native, words } from '../../native/addon.js'
import { UsageError } from '../../native/errors.js'
import { Op } from '../../native/operators.js'
import type { DType, TensorData } from '../dtype.js'
import { dtypeId, viewOf } from '../dtype.js'
import type { Tensor } from '../tensor.js'
import type { NestedArray, Scalar } from './nested.js'
import { nest } from './nested.js'

/** The value of a one-element tensor; i64 beyond 2^53 loses precision. */
export async function item(a: Tensor): Promise<number> {
  if (a.numel !== 1) {
    throw new UsageError(`item() takes a tensor of one element; this one has shape [${a.shape}]`)
  }
  return Number((await data(a))[0])
}

/**
 * All elements in order: f16 and bf16 as Float32Array, i64 as BigInt64Array, bool as Uint8Array.
 */
export async function data(a: Tensor): Promise<TensorData> {
  const dtype = a.dtype
  if (dtype !== 'f16' && dtype !== 'bf16') return viewOf(await native.read(a.handle), dtype)
  // The cast is not recorded and its result is released at once: memory is freed in stream order.
  const recording = native.setGradEnabled(false)
  let reading: Promise<ArrayBuffer>
  try {
    words[0] = a.handle
    words[1] = dtypeId('f32')
    const cast = native.call(Op.to_dtype, 2)
    reading = native.read(cast)
    native.release(cast)
  } finally {
    native.setGradEnabled(recording)
  }
  return new Float32Array(await reading)
}

/** Nested arrays in the tensor's shape; i64 as numbers, bool as booleans. */
export async function toArray(a: Tensor): Promise<NestedArray> {
  const { shape, dtype } = a
  return nest(scalarsOf(await data(a), dtype), shape)
}

/** @internal Elements as JavaScript shows them: i64 as numbers, bool as booleans. */
export function scalarsOf(flat: TensorData, dtype: DType): ArrayLike<Scalar> {
  if (dtype === 'i64') return Array.from(flat as BigInt64Array, Number)
  return dtype === 'bool' ? Array.from(flat as Uint8Array, (v) => v !== 0) : flat
}
