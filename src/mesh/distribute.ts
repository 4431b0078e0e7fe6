// Making distributed tensors: of a whole tensor, and of parts that lie on the devices already.
import { DeviceError, DtypeError, ShapeError, UsageError } from '../native/errors.js'
import { narrow } from '../tensor/generated/functions.js'
import { zeros } from '../tensor/operators/factory.js'
import { scope } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import { DistributedTensor } from './distributed-tensor.js'
import { extentAt } from './layout.js'
import type { Mesh } from './mesh.js'
import type { Placement, Placements } from './placement.js'
import { isTerms, placementList } from './placement.js'

/**
 * `tensor` over the mesh: every device gets its part as a copy. Along axes placed partial('sum') the first device has
 * the value and the others zeros; along those of a maximum or minimum all have it. Gradients flow back to `tensor`.
 */
export function distribute(
  tensor: Tensor,
  mesh: Mesh,
  placements: Placements = {},
): DistributedTensor {
  const placed = placementList(mesh, placements, tensor.rank)
  const locals = scope(() =>
    mesh.devices.map((device, p) => {
      const { shape, start } = extentAt(mesh, placed, tensor.shape, p)
      const at = mesh.coordinates(p)
      if (placed.some((each, a) => isTerms(each) && at[a] !== 0)) {
        return zeros(shape, { dtype: tensor.dtype, device })
      }
      let part = tensor
      start.forEach((first, dim) => {
        const length = shape[dim] as number
        if (length !== part.shape[dim]) part = narrow(part, dim, first, length)
      })
      return device === tensor.device ? part.clone() : part.to({ device })
    }),
  )
  return new DistributedTensor(mesh, placed, tensor.shape, locals)
}

/**
 * A distributed tensor of parts that lie on the mesh's devices, by position; nothing is copied, and the parts belong to
 * it from now on. The whole shape follows from the parts.
 */
export function fromLocal(
  mesh: Mesh,
  locals: readonly Tensor[],
  placements: Placements = {},
): DistributedTensor {
  if (locals.length !== mesh.size) {
    throw new UsageError(`fromLocal: ${mesh} needs ${mesh.size} parts, not ${locals.length}`)
  }
  const [first] = locals as [Tensor]
  const placed = placementList(mesh, placements, first.rank)
  const shape = wholeShape(mesh, placed, locals)
  for (const [p, local] of locals.entries()) {
    if (local.device !== mesh.devices[p]) {
      throw new DeviceError(
        `fromLocal: part ${p} is on ${local.device}, position ${p} on ${mesh.devices[p]}`,
      )
    }
    if (local.dtype !== first.dtype) {
      throw new DtypeError(`fromLocal: part ${p} is ${local.dtype}, part 0 ${first.dtype}`)
    }
    const expected = extentAt(mesh, placed, shape, p).shape
    if (`${expected}` === `${local.shape}`) continue
    throw new ShapeError(
      `fromLocal: part ${p} of a tensor of [${shape}] has shape [${expected}], not [${local.shape}]`,
    )
  }
  return new DistributedTensor(mesh, placed, shape, [...locals])
}

function wholeShape(mesh: Mesh, placed: readonly Placement[], locals: readonly Tensor[]): number[] {
  const shape = [...(locals[0] as Tensor).shape]
  placed.forEach((placement, a) => {
    if (placement.kind !== 'sharded') return
    const [line] = mesh.lines(a) as [number[]]
    shape[placement.dim] = line.reduce(
      (sum, p) => sum + ((locals[p] as Tensor).shape[placement.dim] ?? 0),
      0,
    )
  })
  return shape
}
