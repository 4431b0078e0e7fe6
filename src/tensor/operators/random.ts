// Random tensors and seeds. Every device has its own Philox generator: the same seed gives the same
// numbers on every device and driver, whatever the number of threads.
import { deviceIndex } from '../../fabric/devices.js'
import { native, words } from '../../native/addon.js'
import { UsageError } from '../../native/errors.js'
import { Op } from '../../native/operators.js'
import type { DType } from '../dtype.js'
import { dtypeId } from '../dtype.js'
import type { Tensor } from '../tensor.js'
import { requireHolds } from '../values/host-values.js'
import type { TensorOptions } from './factory.js'
import { finish } from './factory.js'
import { result, writeInts } from './invoke.js'

/** State of one device's generator. */
export interface GeneratorState {
  seed: bigint
  /** Position in the sequence. */
  offset: bigint
}

/** Uniform numbers in [low, high), by default [0, 1). */
export function rand(
  shape: readonly number[],
  options: TensorOptions & { low?: number; high?: number } = {},
): Tensor {
  return draw(Op.uniform, shape, options.low ?? 0, options.high ?? 1, 'f32', options)
}

/** Normal numbers, by default mean 0 and standard deviation 1. */
export function randn(
  shape: readonly number[],
  options: TensorOptions & { mean?: number; std?: number } = {},
): Tensor {
  return draw(Op.normal, shape, options.mean ?? 0, options.std ?? 1, 'f32', options)
}

/** Integers in low..high-1, i64 by default. */
export function randint(
  low: number,
  high: number,
  shape: readonly number[],
  options: TensorOptions = {},
): Tensor {
  const dtype = options.dtype ?? 'i64'
  requireHolds('randint: low', low, dtype)
  requireHolds('randint: the largest number', high - 1, dtype)
  return draw(Op.randint, shape, low, high, 'i64', options)
}

/**
 * Seeds all devices, also those opened later, or one device. Offsets start at 0. A seed is a whole number, taken modulo
 * 2^64.
 */
export function manualSeed(seed: number | bigint, device?: string): void {
  if (typeof seed !== 'bigint' && !Number.isSafeInteger(seed)) {
    throw new UsageError(`a seed is a whole number or a bigint, not ${String(seed)}`)
  }
  native.seed(device === undefined ? -1 : deviceIndex(device), BigInt.asUintN(64, BigInt(seed)))
}

/** The generator's state, to store in a checkpoint. */
export function generatorState(device?: string): GeneratorState {
  const [seed, offset] = native.generatorState(deviceIndex(device))
  return { seed, offset }
}

/** Restores a state from generatorState(). */
export function setGeneratorState(state: GeneratorState, device?: string): void {
  native.setGeneratorState(deviceIndex(device), state.seed, state.offset)
}

function draw(
  op: number,
  shape: readonly number[],
  first: number,
  second: number,
  dtype: DType,
  options: TensorOptions,
): Tensor {
  const device = deviceIndex(options.device)
  const id = dtypeId(options.dtype ?? dtype)
  const [one, two] = op === Op.normal ? ['mean', 'std'] : ['low', 'high']
  requireFinite(one, first)
  requireFinite(two, second)
  const at = writeInts(0, shape)
  words[at] = first
  words[at + 1] = second
  words[at + 2] = id
  words[at + 3] = device
  return finish(result(op, at + 4), options)
}

function requireFinite(what: string, value: number): void {
  if (Number.isFinite(value)) return
  throw new UsageError(`${what} must be a finite number, it is ${String(value)}`)
}
