// Elementwise operators as functions: on two tensors (shapes broadcast, dtypes promote) or on a
// tensor and a number (the dtype of a floating tensor stays). Each enqueues on the device's current
// stream and returns a new tensor. Tensor's methods and functional.ts name them.

import { words } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { Op } from '../native/operators.js'
import { dtypeId } from './dtype.js'
import { call1, call2, callNumber, callNumbers, result } from './invoke.js'
import { metaOf } from './meta.js'
import type { Tensor } from './tensor.js'

/** A tensor, or a number that acts as one. */
export type Operand = Tensor | number

/** a + b */
export function add(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return callNumber(Op.add_scalar, tensorOf(a), b)
  return typeof a === 'number' ? callNumber(Op.add_scalar, b, a) : call2(Op.add, a, b)
}
/** a - b */
export function sub(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return callNumber(Op.sub_scalar, tensorOf(a), b)
  return typeof a === 'number' ? callNumber(Op.rsub_scalar, b, a) : call2(Op.sub, a, b)
}
/** a * b */
export function mul(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return callNumber(Op.mul_scalar, tensorOf(a), b)
  return typeof a === 'number' ? callNumber(Op.mul_scalar, b, a) : call2(Op.mul, a, b)
}
/** a / b */
export function div(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return callNumber(Op.div_scalar, tensorOf(a), b)
  return typeof a === 'number' ? callNumber(Op.rdiv_scalar, b, a) : call2(Op.div, a, b)
}
/** a to the power of b. A number as base becomes a tensor of b's dtype and device. */
export function pow(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return callNumber(Op.pow_scalar, tensorOf(a), b)
  if (typeof a !== 'number') return call2(Op.pow, a, b)
  const base = like(a, b)
  const out = call2(Op.pow, base, b)
  base.dispose()
  return out
}
/** The larger one; NaN when either is. */
export function maximum(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return callNumber(Op.maximum_scalar, tensorOf(a), b)
  return typeof a === 'number' ? callNumber(Op.maximum_scalar, b, a) : call2(Op.maximum, a, b)
}
/** The smaller one; NaN when either is. */
export function minimum(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number') return callNumber(Op.minimum_scalar, tensorOf(a), b)
  return typeof a === 'number' ? callNumber(Op.minimum_scalar, b, a) : call2(Op.minimum, a, b)
}

/** a == b, as bool. */
export function eq(a: Tensor, b: Operand): Tensor {
  return typeof b === 'number' ? callNumber(Op.eq_scalar, a, b) : call2(Op.eq, a, b)
}
/** a != b, as bool. */
export function ne(a: Tensor, b: Operand): Tensor {
  return typeof b === 'number' ? callNumber(Op.ne_scalar, a, b) : call2(Op.ne, a, b)
}
/** a < b, as bool. */
export function lt(a: Tensor, b: Operand): Tensor {
  return typeof b === 'number' ? callNumber(Op.lt_scalar, a, b) : call2(Op.lt, a, b)
}
/** a <= b, as bool. */
export function le(a: Tensor, b: Operand): Tensor {
  return typeof b === 'number' ? callNumber(Op.le_scalar, a, b) : call2(Op.le, a, b)
}
/** a > b, as bool. */
export function gt(a: Tensor, b: Operand): Tensor {
  return typeof b === 'number' ? callNumber(Op.gt_scalar, a, b) : call2(Op.gt, a, b)
}
/** a >= b, as bool. */
export function ge(a: Tensor, b: Operand): Tensor {
  return typeof b === 'number' ? callNumber(Op.ge_scalar, a, b) : call2(Op.ge, a, b)
}

/** Elements of `a` where `condition` is true, else of `b`; all three broadcast. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const like1 = typeof a !== 'number' ? a : typeof b !== 'number' ? b : undefined
  const left = typeof a === 'number' ? numberFor(a, like1, condition) : a
  const right = typeof b === 'number' ? numberFor(b, like1, condition) : b
  words[0] = condition.handle
  words[1] = left.handle
  words[2] = right.handle
  const out = result(Op.where, 3)
  if (typeof a === 'number') left.dispose()
  if (typeof b === 'number') right.dispose()
  return out
}

export const neg = (a: Tensor): Tensor => call1(Op.neg, a)
export const abs = (a: Tensor): Tensor => call1(Op.abs, a)
/** -1, 0 or 1. */
export const sign = (a: Tensor): Tensor => call1(Op.sign, a)
export const reciprocal = (a: Tensor): Tensor => call1(Op.reciprocal, a)
export const exp = (a: Tensor): Tensor => call1(Op.exp, a)
/** Natural logarithm. */
export const log = (a: Tensor): Tensor => call1(Op.log, a)
export const sqrt = (a: Tensor): Tensor => call1(Op.sqrt, a)
/** 1 / sqrt(a) */
export const rsqrt = (a: Tensor): Tensor => call1(Op.rsqrt, a)
export const sin = (a: Tensor): Tensor => call1(Op.sin, a)
export const cos = (a: Tensor): Tensor => call1(Op.cos, a)
export const tanh = (a: Tensor): Tensor => call1(Op.tanh, a)
export const sigmoid = (a: Tensor): Tensor => call1(Op.sigmoid, a)
/** max(a, 0) */
export const relu = (a: Tensor): Tensor => call1(Op.relu, a)
/** a * sigmoid(a) */
export const silu = (a: Tensor): Tensor => call1(Op.silu, a)
/** !a, as bool. */
export const logicalNot = (a: Tensor): Tensor => call1(Op.logical_not, a)
/** Neither NaN nor infinite, as bool. */
export const finite = (a: Tensor): Tensor => call1(Op.isfinite, a)
/** GELU, exact by erf; `approximate: 'tanh'` for the tanh form. */
export const gelu = (a: Tensor, options: { approximate?: 'none' | 'tanh' } = {}): Tensor =>
  callNumber(Op.gelu, a, options.approximate === 'tanh' ? 1 : 0)
/** min(max(a, low), high) */
export const clamp = (a: Tensor, low: number, high: number): Tensor =>
  callNumbers(Op.clamp, a, low, high)

function tensorOf(a: Operand): Tensor {
  if (typeof a === 'number') throw new UsageError('one of the two operands must be a tensor')
  return a
}

/** `value` as a tensor without dimensions, in dtype and on the device of `tensor`. */
function like(value: number, tensor: Tensor): Tensor {
  const { dtype, device } = metaOf(tensor)
  return scalar(value, dtype, device)
}

function scalar(value: number, dtype: number, device: number): Tensor {
  words[0] = 0 // no dimensions
  words[1] = value
  words[2] = dtype
  words[3] = device
  return result(Op.full, 4)
}

function numberFor(value: number, other: Tensor | undefined, condition: Tensor): Tensor {
  return other ? like(value, other) : scalar(value, dtypeId('f32'), metaOf(condition).device)
}
