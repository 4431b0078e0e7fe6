// Making tensors: from host data, filled, counted. All enqueue on the current stream of `device`
// and return at once; the caller owns the result. Host data is copied during the call and may be
// reused.
import { deviceIndex } from '../../fabric/devices.js'
import { native, words } from '../../native/addon.js'
import { ShapeError, UsageError } from '../../native/errors.js'
import { Op } from '../../native/operators.js'
import type { DType, HostArray } from '../dtype.js'
import { dtypeId, naturalDtype } from '../dtype.js'
import { Tensor } from '../tensor.js'
import { arrayFrom, inferredDtype, requireHolds, widens } from '../values/host-values.js'
import type { NestedInput, Scalar } from '../values/nested.js'
import { flattenNested, shapeOf, sizeOfShape } from '../values/nested.js'
import { result, writeInts } from './invoke.js'

/** Where and how a new tensor is made. */
export interface TensorOptions {
  /** Default: f32, or what the data suggests. */
  dtype?: DType
  /** Device name; default: defaultDevice(). */
  device?: string
  /** Ask for gradients (floating dtypes). */
  requiresGrad?: boolean
}

/**
 * A tensor from nested arrays, a number, or a typed array (flat, with `shape`). Numbers become f32,
 * booleans bool, bigints i64, typed arrays keep their type (8 and 16 bits: i32, Uint32Array and BigUint64Array: i64)
 * unless `dtype` says otherwise. Throws ShapeError for ragged arrays or a shape that does not fit, DtypeError for a
 * number that an integer dtype cannot hold; floating dtypes round.
 */
export function tensor(
  data: NestedInput | HostArray,
  options: TensorOptions & { shape?: readonly number[] } = {},
): Tensor {
  if (data instanceof DataView) throw new UsageError('tensor() takes a typed array, not a DataView')
  const isView = ArrayBuffer.isView(data)
  const shape =
    options.shape ?? (isView ? [(data as HostArray).length] : shapeOf(data as NestedInput))
  const flat = isView
    ? (data as HostArray)
    : flattenNested(data as NestedInput, shapeOf(data as NestedInput))
  if (flat.length !== sizeOfShape(shape)) {
    throw new ShapeError(
      `shape [${shape}] holds ${sizeOfShape(shape)} elements, the data has ${flat.length}`,
    )
  }
  const made = isView
    ? fromTyped(flat as HostArray, shape, options)
    : fromScalars(flat as Scalar[], shape, options)
  return finish(made, options)
}

/** A tensor from raw elements of `dtype` in memory order, such as those of a file. */
export function fromBytes(
  bytes: ArrayBufferView,
  options: TensorOptions & { shape: readonly number[]; dtype: DType },
): Tensor {
  return finish(upload(bytes, options.shape, options.dtype, options.device), options)
}

/** A tensor of `shape` filled with `value`. */
export function full(shape: readonly number[], value: number, options: TensorOptions = {}): Tensor {
  const device = deviceIndex(options.device)
  const dtype = options.dtype ?? 'f32'
  const id = dtypeId(dtype)
  requireHolds('the value', value, dtype)
  const at = writeInts(0, shape)
  words[at] = value
  words[at + 1] = id
  words[at + 2] = device
  return finish(result(Op.full, at + 3), options)
}

/** A tensor of zeros. */
export function zeros(shape: readonly number[], options?: TensorOptions): Tensor {
  return full(shape, 0, options)
}

/** A tensor of ones. */
export function ones(shape: readonly number[], options?: TensorOptions): Tensor {
  return full(shape, 1, options)
}

/** Zeros in shape, dtype and device of `a`. */
export function zerosLike(a: Tensor, options: TensorOptions = {}): Tensor {
  return full(a.shape, 0, { dtype: a.dtype, device: a.device, ...options })
}

/** Ones in shape, dtype and device of `a`. */
export function onesLike(a: Tensor, options: TensorOptions = {}): Tensor {
  return full(a.shape, 1, { dtype: a.dtype, device: a.device, ...options })
}

/**
 * arange(stop), arange(start, stop) or arange(start, stop, step): numbers from start (0) up to,
 * without, stop.
 */
export function arange(stop: number, options?: TensorOptions): Tensor
export function arange(start: number, stop: number, options?: TensorOptions): Tensor
export function arange(start: number, stop: number, step: number, options?: TensorOptions): Tensor
export function arange(
  first: number,
  second?: number | TensorOptions,
  third?: number | TensorOptions,
  fourth?: TensorOptions,
): Tensor {
  const numbers = [first, second, third].filter((v) => typeof v === 'number')
  const options = [second, third, fourth].find((v) => typeof v === 'object') ?? {}
  const start = numbers.length > 1 ? (numbers[0] as number) : 0
  const stop = (numbers.length > 1 ? numbers[1] : numbers[0]) as number
  const step = numbers[2] ?? 1
  if (step === 0 || !Number.isFinite(start + stop + step)) {
    throw new UsageError(`arange: start ${start}, stop ${stop}, step ${step} make no finite range`)
  }
  const device = deviceIndex(options.device)
  const count = Math.max(0, Math.ceil((stop - start) / step))
  const dtype = options.dtype ?? 'f32'
  const id = dtypeId(dtype)
  if (count > 0) {
    requireHolds('arange: start', start, dtype)
    requireHolds('arange: the last number', start + (count - 1) * step, dtype)
    if (count > 1) requireHolds('arange: the second number', start + step, dtype)
  }
  words[0] = start
  words[1] = step
  words[2] = count
  words[3] = id
  words[4] = device
  return finish(result(Op.arange, 5), options)
}

/** @internal Applies requiresGrad. */
export function finish(made: Tensor, options: TensorOptions): Tensor {
  if (options.requiresGrad) made.requiresGrad_()
  return made
}

function fromScalars(flat: Scalar[], shape: readonly number[], options: TensorOptions): Tensor {
  const dtype = options.dtype ?? scalarDtype(flat[0])
  return fromTyped(arrayFrom(flat, dtype, shape), shape, { ...options, dtype }, dtype === 'bool')
}

function scalarDtype(value: Scalar | undefined): DType {
  if (typeof value === 'boolean') return 'bool'
  return typeof value === 'bigint' ? 'i64' : 'f32'
}

function fromTyped(
  array: HostArray,
  shape: readonly number[],
  options: TensorOptions,
  asBool = false,
): Tensor {
  const natural = asBool ? 'bool' : naturalDtype(array)
  const dtype = options.dtype ?? inferredDtype(array, natural)
  dtypeId(dtype) // before any work: an unknown name
  if (natural === dtype) return upload(array, shape, dtype, options.device)
  if (natural !== undefined && widens(natural, dtype)) {
    return cast(array, natural, shape, dtype, options)
  }
  const converted = arrayFrom(array, dtype, shape)
  return dtype === 'f16' || dtype === 'bf16'
    ? cast(converted, 'f32', shape, dtype, options)
    : upload(converted, shape, dtype, options.device)
}

function cast(
  array: HostArray,
  natural: DType,
  shape: readonly number[],
  dtype: DType,
  options: TensorOptions,
): Tensor {
  const loaded = upload(array, shape, natural, options.device)
  words[0] = loaded.handle
  words[1] = dtypeId(dtype)
  const out = result(Op.to_dtype, 2)
  loaded.dispose()
  return out
}

function upload(
  view: ArrayBufferView,
  shape: readonly number[],
  dtype: DType,
  device: string | undefined,
): Tensor {
  const index = deviceIndex(device)
  if (shape.length > 8)
    throw new ShapeError(`a tensor has at most 8 dimensions, not ${shape.length}`)
  for (let i = 0; i < shape.length; i++) words[i] = shape[i] as number
  return new Tensor(native.fromHost(view, shape.length, dtypeId(dtype), index))
}
