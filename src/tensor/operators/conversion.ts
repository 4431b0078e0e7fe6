// Moving and converting: dtype and device. Never waits: a copy to another device is
// ordered by events on both devices' streams. Gradients flow back through `to`.
import type { DeviceName } from '../../fabric/device-names.js'
import { deviceIndex } from '../../fabric/devices.js'
import { UsageError } from '../../native/errors.js'
import { Op } from '../../native/operators.js'
import type { DType } from '../dtype.js'
import { dtypeId, dtypeNames } from '../dtype.js'
import type { Tensor } from '../tensor.js'
import { callNumber } from './invoke.js'

/** What `to` takes: a dtype, a device, or both; a device that is only known as text goes in `{ device }`. */
export type Target = DType | DeviceName | { dtype?: DType; device?: string }

/**
 * `a` with another dtype and/or on another device; a new Tensor over the same memory when equal.
 */
export function to(a: Tensor, target: Target): Tensor {
  const { dtype, device } = targetOf(target)
  if (dtype === undefined && device === undefined) {
    throw new UsageError('to() needs a dtype, a device or both')
  }
  const index = device === undefined ? undefined : deviceIndex(device)
  if (index === undefined) return callNumber(Op.to_dtype, a, dtypeId(dtype as DType))
  const moved = callNumber(Op.to_device, a, index)
  if (dtype === undefined) return moved
  const cast = callNumber(Op.to_dtype, moved, dtypeId(dtype))
  moved.dispose()
  return cast
}

/** @internal The dtype and device that a target names. */
export function targetOf(target: Target): { dtype?: DType; device?: string } {
  if (typeof target === 'object' && target !== null) return target
  if (typeof target !== 'string') throw new UsageError('to() needs a dtype, a device or both')
  return (dtypeNames as readonly string[]).includes(target)
    ? { dtype: target as DType }
    : { device: target }
}
