// Element types: names, ids, sizes and the typed arrays that carry them in JavaScript. A copy of
// fabric/include/fabric/dtypes.def by position; test/host/fabric/tables.test.ts compares the two. Pure.
import { DtypeError } from '../native/errors.js'

/** Element type names; the position is the native id. */
export const dtypeNames = ['f32', 'f64', 'f16', 'bf16', 'i64', 'i32', 'u8', 'bool'] as const

/** An element type. f16 and bf16 accumulate in f32; bool is one byte, 0 or 1. */
export type DType = (typeof dtypeNames)[number]

/** Bytes of one element, by native id. */
export const dtypeBytes: readonly number[] = [4, 8, 2, 2, 8, 4, 1, 1]

/** What `data()` returns: f16 and bf16 come as f32, bool as 0 and 1. */
export type TensorData = Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array

/** Typed arrays (also over a SharedArrayBuffer) that a tensor can be made from. */
export type HostArray =
  | Float32Array
  | Float64Array
  | BigInt64Array
  | Int32Array
  | Uint8Array
  | Uint8ClampedArray
  | Int8Array
  | Int16Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array

/** Native id of a dtype; throws DtypeError listing the known ones. */
export function dtypeId(name: DType): number {
  const id = dtypeNames.indexOf(name)
  if (id < 0) {
    throw new DtypeError(`unknown dtype ${JSON.stringify(name)}: use ${dtypeNames.join(', ')}`)
  }
  return id
}

/** Name of a native dtype id. */
export function dtypeName(id: number): DType {
  const name = dtypeNames[id]
  if (name === undefined) throw new DtypeError(`unknown dtype id ${id}`)
  return name
}

/** Bytes of one element of `dtype`. */
export function bytesPerElement(dtype: DType): number {
  return dtypeBytes[dtypeId(dtype)] as number
}

/** f32, f64, f16 or bf16? */
export function isFloating(dtype: DType): boolean {
  return dtypeId(dtype) <= 3
}

/** The dtype whose elements lie in memory as in `array`; undefined when there is none. */
export function naturalDtype(array: ArrayBufferView): DType | undefined {
  if (array instanceof Float32Array) return 'f32'
  if (array instanceof Float64Array) return 'f64'
  if (array instanceof BigInt64Array) return 'i64'
  if (array instanceof Int32Array) return 'i32'
  if (array instanceof Uint8Array || array instanceof Uint8ClampedArray) return 'u8'
  return undefined
}

/**
 * A typed array over the bytes of a tensor of `dtype` (not f16 or bf16: cast on the device first).
 */
export function viewOf(buffer: ArrayBuffer, dtype: DType): TensorData {
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer)
    case 'f64':
      return new Float64Array(buffer)
    case 'i64':
      return new BigInt64Array(buffer)
    case 'i32':
      return new Int32Array(buffer)
    case 'u8':
    case 'bool':
      return new Uint8Array(buffer)
    default:
      throw new DtypeError(`${dtype} has no typed array; cast to f32 first`)
  }
}
