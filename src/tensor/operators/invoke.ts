// One operator call: arguments into the call buffer in schema order, one native call, one new
// Tensor. All operator functions of src/tensor go through here. Between the first write to `words`
// and the native call nothing else may run, so arguments are evaluated before.
import { native, wordCount, words } from '../../native/addon.js'
import { UsageError } from '../../native/errors.js'
import type { Tensor } from '../tensor.js'
import { makeTensor } from './make.js'

const nativeCall = native.call

/** The handle of `a`; a UsageError that says what came instead where it is no tensor. */
export function handleOf(a: Tensor): number {
  const handle = (a as Tensor | undefined)?.handle
  if (typeof handle !== 'number') throw new UsageError(`a Tensor is needed here, not ${shown(a)}`)
  return handle
}

/** `b` where it is a number. */
export function numberOf(b: number): number {
  if (typeof b !== 'number') throw new UsageError(`a number is needed here, not ${shown(b)}`)
  return b
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'an array: tensor() makes a Tensor of it'
  if (typeof value === 'object' && value !== null) return 'an object'
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

/** op(Tensor) */
export function call1(op: number, a: Tensor): Tensor {
  words[0] = handleOf(a)
  return makeTensor(nativeCall(op, 1))
}

/** op(Tensor, Tensor) */
export function call2(op: number, a: Tensor, b: Tensor): Tensor {
  words[0] = handleOf(a)
  words[1] = handleOf(b)
  return makeTensor(nativeCall(op, 2))
}

/** op(Tensor, number) */
export function callNumber(op: number, a: Tensor, b: number): Tensor {
  words[0] = handleOf(a)
  words[1] = numberOf(b)
  return makeTensor(nativeCall(op, 2))
}

/** op(Tensor, number, number) */
export function callNumbers(op: number, a: Tensor, b: number, c: number): Tensor {
  words[0] = handleOf(a)
  words[1] = numberOf(b)
  words[2] = numberOf(c)
  return makeTensor(nativeCall(op, 3))
}

/** Runs the call whose `count` words were written; its first result. */
export function result(op: number, count: number): Tensor {
  return makeTensor(nativeCall(op, count))
}

/** Runs the call whose `count` words were written, of an operator with two results. */
export function pair(op: number, count: number): [Tensor, Tensor] {
  const first = nativeCall(op, count)
  const second = words[0] as number // a Tensor may be made while debugging writes to the buffer
  return [makeTensor(first), makeTensor(second)]
}

/** Runs the call whose `count` words were written, of an operator with any number of results. */
export function results(op: number, count: number): Tensor[] {
  const made = nativeCall(op, count)
  const handles = words.slice(0, made) // a Tensor may be made while debugging writes to the buffer
  return Array.from(handles, (handle) => makeTensor(handle))
}

/** Runs op(Tensor), which changes the tensor. */
export function run1(op: number, a: Tensor): void {
  words[0] = handleOf(a)
  nativeCall(op, 1)
}

/** Runs op(Tensor, Tensor), which changes the first. */
export function run2(op: number, a: Tensor, b: Tensor): void {
  words[0] = handleOf(a)
  words[1] = handleOf(b)
  nativeCall(op, 2)
}

/** Runs op(Tensor, number), which changes the tensor. */
export function runNumber(op: number, a: Tensor, b: number): void {
  words[0] = handleOf(a)
  words[1] = numberOf(b)
  nativeCall(op, 2)
}

/** The position of `value` among the names that an option may have; throws UsageError. */
export function choice(call: string, option: string, value: string, names: readonly string[]) {
  const at = names.indexOf(value)
  if (at < 0) throw new UsageError(`${call}: ${option} ${value}; use ${names.join(', ')}`)
  return at
}

/** Runs an operator without results. */
export function run(op: number, count: number): void {
  nativeCall(op, count)
}

/** The handle of an optional tensor, 0 when absent. */
export function optional(tensor: Tensor | null | undefined): number {
  return tensor === undefined || tensor === null ? 0 : handleOf(tensor)
}

/** Writes a counted list of integers at `at`; returns the index after it. */
export function writeInts(at: number, list: readonly number[]): number {
  if (!Array.isArray(list)) {
    throw new UsageError(`a list of whole numbers is needed here, as in [2, 3], not ${shown(list)}`)
  }
  let next = at
  words[next++] = list.length
  for (let i = 0; i < list.length; i++) {
    const value = list[i] as number
    if (!Number.isSafeInteger(value)) {
      throw new UsageError(`sizes and dimensions are whole numbers, not ${shown(value)}`)
    }
    words[next++] = value
  }
  return next
}

/** Writes a counted list of tensors at `at`; returns the index after it. */
export function writeTensors(at: number, list: readonly Tensor[]): number {
  if (!Array.isArray(list)) throw new UsageError(`a list of tensors is needed, not ${shown(list)}`)
  if (at + list.length + 32 > wordCount) {
    throw new UsageError(`a call takes at most about ${wordCount} tensors; split the list`)
  }
  let next = at
  words[next++] = list.length
  for (let i = 0; i < list.length; i++) words[next++] = handleOf(list[i] as Tensor)
  return next
}
