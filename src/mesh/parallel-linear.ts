// Tensor-parallel linear layers (Shoeybi et al. 2019): a column-parallel layer makes features cut along an
// axis of the mesh, a row-parallel one takes them and gives the whole again, with one all-reduce between
// the two in each direction. They are modules: models hold them among other layers.
import { ShapeError } from '../native/errors.js'
import { type ParameterOptions, requireSize, uniform } from '../nn/init.js'
import { Module } from '../nn/module.js'
import { keep } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import { distribute } from './distribute.js'
import type { DistributedTensor } from './distributed-tensor.js'
import type { Mesh } from './mesh.js'
import type { Placement } from './placement.js'
import { replicated, sharded } from './placement.js'
import { distributedLinear } from './rules/matrix.js'

/** What ColumnParallelLinear and RowParallelLinear may be told. */
export interface ParallelLinearOptions extends Pick<ParameterOptions, 'dtype'> {
  /** The axis of the mesh along which the weight is cut. */
  axis: string
  bias?: boolean
  /** Values to start from, on any device: weight (outputs, inputs), bias (outputs,). Default as nn.Linear's. */
  weight?: Tensor
  biasValues?: Tensor
}

abstract class ParallelLinear extends Module {
  readonly weight: DistributedTensor
  readonly bias?: DistributedTensor
  readonly axis: string

  constructor(
    readonly mesh: Mesh,
    readonly inputs: number,
    readonly outputs: number,
    options: ParallelLinearOptions,
    weightDim: number,
    biasPlacement: Placement,
  ) {
    super()
    const name = this.constructor.name
    requireSize(name, 'inputs', inputs)
    requireSize(name, 'outputs', outputs)
    mesh.axis(options.axis)
    this.axis = options.axis
    const { weight, biasValues, dtype } = options
    const start = { device: mesh.devices[0] as string, ...(dtype && { dtype }) }
    const bound = 1 / Math.sqrt(inputs)
    const make = (given: Tensor | undefined, shape: number[], placement: Placement) => {
      if (given && `${given.shape}` !== `${shape}`) {
        throw new ShapeError(`${name}: the values have shape [${given.shape}], not [${shape}]`)
      }
      const whole = given?.detach() ?? uniform(shape, bound, start)
      const parts = distribute(whole, mesh, { [this.axis]: placement })
      whole.dispose()
      for (const local of parts.locals) keep(local)
      return parts.requiresGrad_()
    }
    this.weight = make(weight, [outputs, inputs], sharded(weightDim))
    if (options.bias !== false) this.bias = make(biasValues, [outputs], biasPlacement)
  }
}

/** x (…, inputs), whole along the axis → (…, outputs), cut along it: each device has some of the outputs. */
export class ColumnParallelLinear extends ParallelLinear {
  readonly gelu: boolean

  constructor(
    mesh: Mesh,
    inputs: number,
    outputs: number,
    options: ParallelLinearOptions & { gelu?: boolean },
  ) {
    super(mesh, inputs, outputs, options, 0, sharded(0))
    this.gelu = options.gelu ?? false
  }

  forward(x: DistributedTensor): DistributedTensor {
    return distributedLinear(x, this.weight, this.bias, { gelu: this.gelu })
  }
}

/** x (…, inputs), cut along the axis as a column-parallel layer leaves it → (…, outputs), whole: one all-reduce. */
export class RowParallelLinear extends ParallelLinear {
  constructor(mesh: Mesh, inputs: number, outputs: number, options: ParallelLinearOptions) {
    super(mesh, inputs, outputs, options, 1, replicated())
  }

  forward(x: DistributedTensor): DistributedTensor {
    const whole = distributedLinear(x, this.weight).redistribute({ [this.axis]: replicated() })
    return this.bias ? whole.add(this.bias) : whole
  }
}
