// Collectives that make new tensors and have gradients, for all ranks of a group from one thread: the
// functional counterpart of Group's in-place calls. DistributedTensor moves data through these;
// programs call them as `collectives.allReduce(group, tensors)`.
//
// tensors[r] lies on the group's r-th device. Each call enqueues and returns; later operators on the
// results are ordered by events, in the backward pass too: the host waits for nothing. The gradient of
// an input is the sum over ranks of what their results pass back:
//   allReduce <-> allReduce   allGather <-> reduceScatter   broadcast <-> reduce   scatter <-> gather
//   allToAll <-> allToAll
// A rank whose result is not used adds zeros. Use a group here whose ranks do not call from threads
// of their own.
import type {
  CollectiveName,
  CollectiveOptions,
  ReduceCallOptions,
  RootOptions,
} from '../fabric/collective-call.js'
import { callLimits, callNumbers } from '../fabric/collective-call.js'
import { deviceIndex } from '../fabric/devices.js'
import type { Group } from '../fabric/group.js'
import { native, words } from '../native/addon.js'
import { DeviceError, ShapeError, UsageError } from '../native/errors.js'
import { Op } from '../native/operators.js'
import { normalizeDim } from '../tensor/dims.js'
import { narrow } from '../tensor/generated/functions.js'
import { to } from '../tensor/operators/conversion.js'
import { handleOf, numberOf, result, writeTensors } from '../tensor/operators/invoke.js'
import { makeTensor } from '../tensor/operators/make.js'
import type { Tensor } from '../tensor/tensor.js'

/**
 * Every rank gets the sum (or another combination) of all tensors. Gradients for sum, avg, max and min; ranks that have
 * the same extreme share its gradient equally.
 */
export function allReduce(
  group: Group,
  tensors: readonly Tensor[],
  options: ReduceCallOptions = {},
): Tensor[] {
  return joint(group, 'allReduce', tensors, options)
}

/** Every rank gets all tensors, (n, …) each, one after the other along dimension 0. */
export function allGather(
  group: Group,
  tensors: readonly Tensor[],
  options: CollectiveOptions = {},
): Tensor[] {
  return joint(group, 'allGather', tensors, options)
}

/** Rank r gets part r along dimension 0 of the combination of all tensors, (ranks · n, …) each. */
export function reduceScatter(
  group: Group,
  tensors: readonly Tensor[],
  options: ReduceCallOptions = {},
): Tensor[] {
  return joint(group, 'reduceScatter', tensors, options)
}

/** Every rank gets the root's tensor, which lies on the root's device. */
export function broadcast(group: Group, tensor: Tensor, options: RootOptions = {}): Tensor[] {
  return joint(group, 'broadcast', [tensor], options)
}

/** The combination of all tensors, on the root's device. Gradients for sum and avg. */
export function reduce(
  group: Group,
  tensors: readonly Tensor[],
  options: ReduceCallOptions & RootOptions = {},
): Tensor {
  return joint(group, 'reduce', tensors, options)[0] as Tensor
}

/** Cuts the root's tensor along `dim` in `sizes` (default: equal parts); rank r gets part r. */
export function scatter(
  group: Group,
  tensor: Tensor,
  options: { root?: number; dim?: number; sizes?: readonly number[] } = {},
): Tensor[] {
  requireOn('scatter', tensor, group, rootOf(group, options.root))
  const dim = normalizeDim(tensor, options.dim ?? 0)
  const parts = cut('scatter', tensor, dim, options.sizes ?? evenSizes(tensor, dim, group.size))
  requireCount('scatter', 'parts', parts, group)
  return parts.map((part, r) => to(part, { device: deviceOf(group, r) }))
}

/** All tensors one after the other along `dim`, on the root's device; sizes along it may differ. */
export function gather(
  group: Group,
  tensors: readonly Tensor[],
  options: { root?: number; dim?: number } = {},
): Tensor {
  requireAll('gather', tensors, group)
  return joined(tensors, options.dim ?? 0, deviceOf(group, rootOf(group, options.root)))
}

/**
 * Rank r cuts its tensor along `splitDim` and sends part s to rank s, which joins what it gets in rank order along
 * `joinDim` (default: the same). `sizes` are those of the parts, the same at every rank; default: equal ones.
 */
export function allToAll(
  group: Group,
  tensors: readonly Tensor[],
  options: { splitDim?: number; joinDim?: number; sizes?: readonly number[] } = {},
): Tensor[] {
  requireAll('allToAll', tensors, group)
  const { splitDim = 0, joinDim = splitDim } = options
  const parts = tensors.map((tensor) => {
    const dim = normalizeDim(tensor, splitDim)
    const all = cut('allToAll', tensor, dim, options.sizes ?? evenSizes(tensor, dim, group.size))
    requireCount('allToAll', 'parts', all, group)
    return all
  })
  return tensors.map((_, r) =>
    joined(
      parts.map((mine) => mine[r] as Tensor),
      joinDim,
      deviceOf(group, r),
    ),
  )
}

function joint(
  group: Group,
  name: CollectiveName,
  tensors: readonly Tensor[],
  options: ReduceCallOptions & RootOptions,
): Tensor[] {
  const [kind, op] = callNumbers(name, options.op)
  const limits = callLimits(options)
  const given = tensors.length
  for (let i = 0; i < given; i++) words[i] = handleOf(tensors[i] as Tensor)
  const count = native.jointCollective(group.id, kind, op, options.root ?? 0, ...limits, given)
  // All are read first: making a Tensor may write to the buffer.
  const handles: number[] = []
  for (let i = 0; i < count; i++) handles.push(words[i] as number)
  return handles.map(makeTensor)
}

/** `tensors`, on any devices, one after the other along `dim` on `device`. */
function joined(tensors: readonly Tensor[], dim: number, device: string): Tensor {
  const at = writeTensors(0, tensors)
  words[at] = numberOf(dim)
  words[at + 1] = deviceIndex(device)
  return result(Op.cat_to, at + 2)
}

function cut(call: string, tensor: Tensor, dim: number, sizes: readonly number[]): Tensor[] {
  const total = sizes.reduce((sum, size) => sum + size, 0)
  if (total !== tensor.size(dim)) {
    throw new ShapeError(
      `${call}: parts of ${sizes.join(', ')} make ${total}, dimension ${dim} has ${tensor.size(dim)}`,
    )
  }
  let start = 0
  return sizes.map((size) => {
    const part = narrow(tensor, dim, start, size)
    start += size
    return part
  })
}

function evenSizes(tensor: Tensor, dim: number, ranks: number): number[] {
  const size = tensor.size(dim)
  if (size % ranks === 0) return new Array(ranks).fill(size / ranks)
  throw new ShapeError(
    `dimension ${dim} of ${size} does not split evenly over ${ranks} ranks; pass { sizes }`,
  )
}

function requireCount(call: string, what: string, list: readonly unknown[], group: Group): void {
  if (list.length === group.size) return
  throw new UsageError(
    `${call}: ${group.size} ranks need ${group.size} ${what}, not ${list.length}`,
  )
}

function requireAll(call: string, tensors: readonly Tensor[], group: Group): void {
  requireCount(call, 'tensors', tensors, group)
  for (const [r, tensor] of tensors.entries()) requireOn(call, tensor, group, r)
}

function requireOn(call: string, tensor: Tensor, group: Group, rank: number): void {
  if (tensor.device === deviceOf(group, rank)) return
  throw new DeviceError(
    `${call}: the tensor of rank ${rank} is on ${tensor.device}, the rank is ${deviceOf(group, rank)}`,
  )
}

function rootOf(group: Group, root = 0): number {
  if (Number.isInteger(root) && root >= 0 && root < group.size) return root
  throw new UsageError(`root ${root} is not a rank of a group of ${group.size}`)
}

function deviceOf(group: Group, rank: number): string {
  return group.devices[rank] as string
}
