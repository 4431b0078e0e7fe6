// Operators that change their first tensor and return it. Shapes broadcast to it, its dtype stays.
// A leaf that requires gradients can be changed inside noGrad() only (UsageError); a tensor that a
// gradient formula still needs may be changed, but backward() then throws UsageError naming the
// operator.
import { words } from '../native/addon.js'
import { Op } from '../native/operators.js'
import { run } from './invoke.js'
import type { Tensor } from './tensor.js'

function withTensor<T extends Tensor>(op: number, a: T, b: Tensor): T {
  words[0] = a.handle
  words[1] = b.handle
  run(op, 2)
  return a
}

function withNumber<T extends Tensor>(op: number, a: T, b: number): T {
  words[0] = a.handle
  words[1] = b
  run(op, 2)
  return a
}

/** a += b */
export function add<T extends Tensor>(a: T, b: Tensor | number): T {
  return typeof b === 'number' ? withNumber(Op.add_scalar_, a, b) : withTensor(Op.add_, a, b)
}
/** a -= b */
export function sub<T extends Tensor>(a: T, b: Tensor | number): T {
  return typeof b === 'number' ? withNumber(Op.add_scalar_, a, -b) : withTensor(Op.sub_, a, b)
}
/** a *= b */
export function mul<T extends Tensor>(a: T, b: Tensor | number): T {
  return typeof b === 'number' ? withNumber(Op.mul_scalar_, a, b) : withTensor(Op.mul_, a, b)
}
/** a /= b; by a number it multiplies with 1 / b. */
export function div<T extends Tensor>(a: T, b: Tensor | number): T {
  return typeof b === 'number' ? withNumber(Op.mul_scalar_, a, 1 / b) : withTensor(Op.div_, a, b)
}
/** a = b, cast and broadcast; b may be on another device. */
export function copy<T extends Tensor>(a: T, b: Tensor): T {
  return withTensor(Op.copy_, a, b)
}
/** a = 0 */
export function zero<T extends Tensor>(a: T): T {
  words[0] = a.handle
  run(Op.zero_, 1)
  return a
}
/** a = value */
export function fill<T extends Tensor>(a: T, value: number): T {
  return withNumber(Op.fill_, a, value)
}
