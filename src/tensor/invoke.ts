// One operator call: arguments into the call buffer in schema order, one native call, one new
// Tensor. All operator functions of src/tensor go through here. Between the first write to `words`
// and the native call nothing else may run, so arguments are evaluated before.
import { native, wordCount, words } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { makeTensor } from './make.js'
import type { Tensor } from './tensor.js'

const nativeCall = native.call

/** op(Tensor) */
export function call1(op: number, a: Tensor): Tensor {
  words[0] = a.handle
  return makeTensor(nativeCall(op, 1))
}

/** op(Tensor, Tensor) */
export function call2(op: number, a: Tensor, b: Tensor): Tensor {
  words[0] = a.handle
  words[1] = b.handle
  return makeTensor(nativeCall(op, 2))
}

/** op(Tensor, number) */
export function callNumber(op: number, a: Tensor, b: number): Tensor {
  words[0] = a.handle
  words[1] = b
  return makeTensor(nativeCall(op, 2))
}

/** op(Tensor, number, number) */
export function callNumbers(op: number, a: Tensor, b: number, c: number): Tensor {
  words[0] = a.handle
  words[1] = b
  words[2] = c
  return makeTensor(nativeCall(op, 3))
}

/** Runs the call whose `count` words were written; its first result. */
export function result(op: number, count: number): Tensor {
  return makeTensor(nativeCall(op, count))
}

/** Runs the call whose `count` words were written, of an operator with any number of results. */
export function results(op: number, count: number): Tensor[] {
  const made = nativeCall(op, count)
  const handles = words.slice(0, made) // a Tensor may be made while debugging writes to the buffer
  return Array.from(handles, (handle) => makeTensor(handle))
}

/** Runs op(Tensor), which changes the tensor. */
export function run1(op: number, a: Tensor): void {
  words[0] = a.handle
  nativeCall(op, 1)
}

/** Runs op(Tensor, Tensor), which changes the first. */
export function run2(op: number, a: Tensor, b: Tensor): void {
  words[0] = a.handle
  words[1] = b.handle
  nativeCall(op, 2)
}

/** Runs op(Tensor, number), which changes the tensor. */
export function runNumber(op: number, a: Tensor, b: number): void {
  words[0] = a.handle
  words[1] = b
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
  return tensor ? tensor.handle : 0
}

/** Writes a counted list of integers at `at`; returns the index after it. */
export function writeInts(at: number, list: readonly number[]): number {
  let next = at
  words[next++] = list.length
  for (let i = 0; i < list.length; i++) words[next++] = list[i] as number
  return next
}

/** Writes a counted list of tensors at `at`; returns the index after it. */
export function writeTensors(at: number, list: readonly Tensor[]): number {
  if (at + list.length + 32 > wordCount) {
    throw new UsageError(`a call takes at most about ${wordCount} tensors; split the list`)
  }
  let next = at
  words[next++] = list.length
  for (let i = 0; i < list.length; i++) words[next++] = (list[i] as Tensor).handle
  return next
}
