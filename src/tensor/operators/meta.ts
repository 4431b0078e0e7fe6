// What a tensor is, read from native code once and kept: shape, strides, dtype and device of a
// tensor never change. Called by Tensor's getters on first use.
import { native, words } from '../../native/addon.js'
import type { TensorObject } from '../tensor-object.js'

export interface TensorMeta {
  readonly shape: readonly number[]
  readonly strides: readonly number[]
  /** Native dtype id. */
  readonly dtype: number
  /** Device index. */
  readonly device: number
  readonly numel: number
  /** In elements, from the start of the storage. */
  readonly offset: number
  readonly contiguous: boolean
  readonly isView: boolean
}

/** The tensor's description, read on first use. Throws DisposedError. */
export function metaOf(tensor: TensorObject): TensorMeta {
  return tensor.meta ?? fetchMeta(tensor)
}

function fetchMeta(tensor: TensorObject): TensorMeta {
  native.tensorMeta(tensor.handle)
  const rank = words[2] as number
  const meta: TensorMeta = {
    shape: Object.freeze(Array.from(words.subarray(7, 7 + rank))),
    strides: Object.freeze(Array.from(words.subarray(7 + rank, 7 + 2 * rank))),
    dtype: words[0] as number,
    device: words[1] as number,
    numel: words[3] as number,
    offset: words[4] as number,
    contiguous: words[5] !== 0,
    isView: words[6] !== 0,
  }
  tensor.meta = meta
  return meta
}
