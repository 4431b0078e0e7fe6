// Numbers as operands of elementwise operators: what generated/functions.ts needs for them, and
// `where`, whose operands may both be numbers.
import { words } from '../../native/addon.js'
import { UsageError } from '../../native/errors.js'
import { Op } from '../../native/operators.js'
import { dtypeId } from '../dtype.js'
import type { Tensor } from '../tensor.js'
import { call2, handleOf, result } from './invoke.js'
import { metaOf } from './meta.js'

/** A tensor, or a number that acts as one. */
export type Operand = Tensor | number

/** Elements of `a` where `condition` is true, else of `b`; all three broadcast. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const like1 = typeof a !== 'number' ? a : typeof b !== 'number' ? b : undefined
  const left = typeof a === 'number' ? numberFor(a, like1, condition) : a
  const right = typeof b === 'number' ? numberFor(b, like1, condition) : b
  words[0] = handleOf(condition)
  words[1] = handleOf(left)
  words[2] = handleOf(right)
  const out = result(Op.where, 3)
  if (typeof a === 'number') left.dispose()
  if (typeof b === 'number') right.dispose()
  return out
}

/** @internal The operand that must be a tensor. */
export function tensorOf(a: Operand): Tensor {
  if (typeof a === 'number') throw new UsageError('one of the two operands must be a tensor')
  return a
}

/** @internal op(a, b) of a number: a tensor like `b` for the time of the call. */
export function lifted(op: number, a: number, b: Tensor): Tensor {
  const first = like(a, b)
  const out = call2(op, first, b)
  first.dispose()
  return out
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
