// Numbers on their way into a tensor: what a dtype can hold, and typed arrays in a dtype's memory layout. An integer
// dtype refuses what it cannot hold, naming the first bad element; floating dtypes round, as in every assignment.
// factory.ts, random.ts and fill_ check here. Pure.
import { DtypeError, UsageError } from '../../native/errors.js'
import type { DType, HostArray, TensorData } from '../dtype.js'
import { isFloating } from '../dtype.js'
import type { Scalar } from './nested.js'

interface Range {
  low: bigint
  high: bigint
}

const ranges: Partial<Record<DType, Range>> = {
  i64: { low: -(2n ** 63n), high: 2n ** 63n - 1n },
  i32: { low: -(2n ** 31n), high: 2n ** 31n - 1n },
  u8: { low: 0n, high: 255n },
}

/** The dtype of a tensor made from `array` without saying one: it holds every value that the array can. */
export function inferredDtype(array: HostArray, natural: DType | undefined): DType {
  if (natural !== undefined) return natural
  return array instanceof Uint32Array || array instanceof BigUint64Array ? 'i64' : 'i32'
}

/** Can `to` hold every value of `from`, so that the device may convert without a look at them? */
export function widens(from: DType, to: DType): boolean {
  if (isFloating(to) || to === 'bool' || from === 'bool') return true
  return from === to || (from === 'u8' && to !== 'u8') || (from === 'i32' && to === 'i64')
}

/** A new typed array with the memory layout of `dtype` (f16, bf16: f32). Throws DtypeError for a value it cannot hold. */
export function arrayFrom(
  values: ArrayLike<Scalar>,
  dtype: DType,
  shape: readonly number[] = [values.length],
): TensorData {
  const n = values.length
  if (dtype === 'i64') return i64From(values, shape)
  const out = emptyNumeric(dtype, n)
  const range = ranges[dtype]
  if (range === undefined) {
    const isBool = dtype === 'bool'
    for (let i = 0; i < n; i++) {
      const value = Number(values[i])
      out[i] = isBool ? (value !== 0 ? 1 : 0) : value
    }
    return out
  }
  const [low, high] = [Number(range.low), Number(range.high)]
  for (let i = 0; i < n; i++) {
    const value = Number(values[i])
    if (!(value >= low && value <= high && Number.isInteger(value))) {
      throw elementError(values[i] as Scalar, i, shape, dtype)
    }
    out[i] = value
  }
  return out
}

/** Throws DtypeError unless `dtype` can hold `value`, UsageError unless it is a number; `what` names it. */
export function requireHolds(what: string, value: number, dtype: DType): void {
  if (typeof value !== 'number') {
    throw new UsageError(`${what} must be a number, it is ${String(value)} (${typeof value})`)
  }
  const range = ranges[dtype]
  if (range === undefined || holds(range, value)) return
  throw new DtypeError(`${what} is ${value}: ${limits(dtype, range)}`, {
    value: String(value),
    dtype,
  })
}

function i64From(values: ArrayLike<Scalar>, shape: readonly number[]): BigInt64Array {
  const out = new BigInt64Array(values.length)
  const range = ranges.i64 as Range
  for (let i = 0; i < out.length; i++) {
    const value = values[i] as Scalar
    if (!holds(range, value)) throw elementError(value, i, shape, 'i64')
    out[i] = BigInt(value)
  }
  return out
}

function holds({ low, high }: Range, value: Scalar): boolean {
  if (typeof value === 'boolean') return true
  if (typeof value === 'number' && !Number.isInteger(value)) return false
  return value >= low && value <= high
}

function limits(dtype: DType, { low, high }: Range): string {
  return `${dtype} holds whole numbers from ${low} to ${high}`
}

function elementError(value: Scalar, index: number, shape: readonly number[], dtype: DType) {
  const position: number[] = []
  let rest = index
  for (const size of [...shape].reverse()) {
    position.unshift(rest % size)
    rest = Math.floor(rest / size)
  }
  const where = position.length === 0 ? 'the value' : `element [${position.join('][')}]`
  return new DtypeError(`${where} is ${value}: ${limits(dtype, ranges[dtype] as Range)}`, {
    index,
    value: String(value),
    dtype,
  })
}

function emptyNumeric(dtype: DType, n: number): Exclude<TensorData, BigInt64Array> {
  if (dtype === 'f64') return new Float64Array(n)
  if (dtype === 'i32') return new Int32Array(n)
  if (dtype === 'u8' || dtype === 'bool') return new Uint8Array(n)
  return new Float32Array(n)
}
