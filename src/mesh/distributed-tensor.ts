// DistributedTensor: one logical tensor over the devices of a mesh, its local parts by position, and its
// operators. Rules (rules/) say where results lie; placements that do not fit are a PlacementError, and
// nothing moves that no call says. distribute() and fromLocal() in distribute.ts make them.
//
// Gradients. Every part has its own history; collectives between them have exact adjoints. So the gradient
// of a replicated tensor is the sum of what reaches its copies: `grad` lies as terms of a sum where the
// tensor is replicated or partial extremes, whole where the tensor was terms of a sum, and cut where it was cut.
import { backward } from '../autograd/gradient.js'
import { UsageError } from '../native/errors.js'
import { partsOf } from '../nn/module-fields.js'
import type { Dims } from '../tensor/dims.js'
import type { DType } from '../tensor/dtype.js'
import * as F from '../tensor/generated/functions.js'
import { zerosLike } from '../tensor/operators/factory.js'
import { disposeAll } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import type { NestedArray } from '../tensor/values/nested.js'
import { makeDistributed, provideDistributedClass } from './make.js'
import type { Mesh } from './mesh.js'
import type { Placement, Placements } from './placement.js'
import { isTerms, partial, placementList, placementsText, replicated } from './placement.js'
import { redistributed } from './redistribute.js'
import type { DistributedOperand } from './rules/elementwise.js'
import { binary, unary } from './rules/elementwise.js'
import { distributedMatmul } from './rules/matrix.js'
import type { KeepDim } from './rules/reduction.js'
import * as reductions from './rules/reduction.js'
import { distributedLogSoftmax, distributedSoftmax } from './rules/rows.js'
import { distributedNarrow, distributedPermute, distributedReshape } from './rules/views.js'

/**
 * One logical tensor over the devices of a mesh: a part on each, and how the parts make the whole along each axis
 * (replicated, sharded, partial). Operators are its methods: they enqueue on every device and never wait. Results lie as the rule of the
 * operator says; operands that do not fit are a PlacementError that names the cheapest redistribution. The parts are freed by dispose(),
 * `using` and scope(). distribute() and fromLocal() make them.
 */
export class DistributedTensor {
  /** The mesh that it lies over. */
  readonly mesh: Mesh
  /** Sizes of the whole tensor. */
  readonly shape: readonly number[]
  /** The parts by position on the mesh; they belong to this object. */
  readonly locals: readonly Tensor[]
  /** @internal Placements in the order of the mesh's axes. */
  readonly placed: readonly Placement[]

  /** @internal Use distribute() or fromLocal(). */
  constructor(
    mesh: Mesh,
    placed: readonly Placement[],
    shape: readonly number[],
    locals: readonly Tensor[],
  ) {
    this.mesh = mesh
    this.placed = placed
    this.shape = shape
    this.locals = locals
  }

  /** Placements by axis name. */
  get placements(): Placements {
    return Object.fromEntries(this.mesh.axes.map((axis, a) => [axis, this.placed[a] as Placement]))
  }
  /** Element type of all parts. */
  get dtype(): DType {
    return (this.locals[0] as Tensor).dtype
  }
  /** Number of elements of the whole tensor. */
  get numel(): number {
    return this.shape.reduce((n, size) => n * size, 1)
  }
  /** The part at `position`, not copied: a change of it is a change of this tensor. */
  local(position: number): Tensor {
    const found = this.locals[position]
    if (found !== undefined) return found
    throw new UsageError(`${this.mesh} has positions 0 to ${this.mesh.size - 1}, not ${position}`)
  }

  // Movement

  /** The same tensor with other placements; axes that are not named stay. */
  redistribute(placements: Placements): DistributedTensor {
    return redistributed(this, placementList(this.mesh, placements, this.shape.length, this.placed))
  }
  /** The whole tensor on the device at `position` (0). */
  full(position = 0): Tensor {
    this.local(position)
    const whole = redistributed(
      this,
      this.placed.map(() => replicated()),
    )
    disposeAll(whole.locals.filter((_, p) => p !== position))
    return whole.local(position)
  }
  /** The whole tensor as nested arrays. */
  async toArray(): Promise<NestedArray> {
    const whole = this.full()
    try {
      return await whole.toArray()
    } finally {
      whole.dispose()
    }
  }

  // Gradients

  /** Whether any part asks for gradients or has a history. */
  get requiresGrad(): boolean {
    return this.locals.some((local) => local.requiresGrad)
  }
  /** Makes the parts leaves that ask for gradients, or stop. Returns this. */
  requiresGrad_(on = true): this {
    for (const local of this.locals) local.requiresGrad_(on)
    return this
  }
  /** The gradient of a leaf: terms of a sum along axes where this is replicated. It belongs to this tensor. */
  get grad(): DistributedTensor | null {
    const grads = this.locals.map((local) => local.grad)
    if (grads.every((grad) => grad === null)) return null
    const parts = grads.map((grad, p) => grad ?? zerosLike(this.local(p)))
    return makeDistributed(this.mesh, this.placed.map(dual), this.shape, parts)
  }
  /** Drops the gradients of the parts; with `toZero` sets them to zero in place instead. */
  zeroGrad(toZero = false): void {
    for (const local of this.locals) local.zeroGrad(toZero)
  }
  /**
   * Computes the gradients of this tensor with respect to all leaves. `grad` is the gradient of the whole tensor, in
   * this tensor's shape; without it the tensor must have one element. Enqueues, never waits.
   */
  backward(grad?: DistributedTensor, options: { retainGraph?: boolean } = {}): void {
    if (grad === undefined && this.numel !== 1) {
      throw new UsageError(`backward: ${this} needs a gradient argument`)
    }
    if (this.placed.some((p) => p.kind === 'partial' && p.op !== 'sum')) {
      // Which part an extreme came from is known where the parts are combined.
      const combined = redistributed(
        this,
        this.placed.map((p) => (p.kind === 'partial' ? replicated() : p)),
      )
      combined.backward(grad, options)
      if (!options.retainGraph) combined.dispose()
      return
    }
    const given = grad && redistributed(grad, this.placed.map(dual))
    // Copies of one value share one gradient: the first copy starts it.
    const roots = this.locals.flatMap((local, p) => {
      const first = given !== undefined || this.#isFirstCopy(p)
      return first && local.requiresGrad && local.numel > 0 ? [p] : []
    })
    if (roots.length === 0) throw new UsageError(`backward: ${this} does not require gradients`)
    backward(
      roots.map((p) => this.local(p)),
      given && roots.map((p) => given.local(p)),
      options,
    )
    if (given !== undefined) disposeAll(given.locals)
  }
  #isFirstCopy(position: number): boolean {
    const at = this.mesh.coordinates(position)
    return this.placed.every((p, a) => p.kind !== 'replicated' || at[a] === 0)
  }
  /** The same parts without their history. */
  detach(): DistributedTensor {
    return makeDistributed(
      this.mesh,
      this.placed,
      this.shape,
      this.locals.map((local) => local.detach()),
    )
  }

  // Operators

  /** this + b, elementwise with broadcasting. Sums of terms stay terms where both are. */
  add(b: DistributedOperand): DistributedTensor {
    return binary('add', this, b, F.add, 'sum')
  }
  /** this - b, elementwise with broadcasting. */
  sub(b: DistributedOperand): DistributedTensor {
    return binary('sub', this, b, F.sub, 'sum')
  }
  /** this · b, elementwise with broadcasting. Terms of a sum times what every device has stay terms. */
  mul(b: DistributedOperand): DistributedTensor {
    return binary('mul', this, b, F.mul, 'product')
  }
  /** this / b, elementwise with broadcasting; `b` must be no terms of a sum. */
  div(b: DistributedOperand): DistributedTensor {
    return binary('div', this, b, F.div, 'quotient')
  }
  /** this to the power of b, elementwise with broadcasting; of whole values alone, not of terms. */
  pow(b: DistributedOperand): DistributedTensor {
    return binary('pow', this, b, F.pow)
  }
  /** The larger of both, elementwise with broadcasting. */
  maximum(b: DistributedOperand): DistributedTensor {
    return binary('maximum', this, b, F.maximum, 'max')
  }
  /** The smaller of both, elementwise with broadcasting. */
  minimum(b: DistributedOperand): DistributedTensor {
    return binary('minimum', this, b, F.minimum, 'min')
  }
  /** -this. Keeps every placement, terms of a sum too. */
  neg(): DistributedTensor {
    return unary('neg', this, F.neg, true)
  }
  /** Absolute value, elementwise; of whole values, not of terms. */
  abs(): DistributedTensor {
    return unary('abs', this, F.abs)
  }
  /** e to the power of this, elementwise; of whole values, not of terms. */
  exp(): DistributedTensor {
    return unary('exp', this, F.exp)
  }
  /** Natural logarithm, elementwise; of whole values, not of terms. */
  log(): DistributedTensor {
    return unary('log', this, F.log)
  }
  /** Square root, elementwise; of whole values, not of terms. */
  sqrt(): DistributedTensor {
    return unary('sqrt', this, F.sqrt)
  }
  /** 1 / square root, elementwise; of whole values, not of terms. */
  rsqrt(): DistributedTensor {
    return unary('rsqrt', this, F.rsqrt)
  }
  /** Hyperbolic tangent, elementwise; of whole values, not of terms. */
  tanh(): DistributedTensor {
    return unary('tanh', this, F.tanh)
  }
  /** 1 / (1 + exp(-this)), elementwise; of whole values, not of terms. */
  sigmoid(): DistributedTensor {
    return unary('sigmoid', this, F.sigmoid)
  }
  /** max(this, 0), elementwise; of whole values, not of terms. */
  relu(): DistributedTensor {
    return unary('relu', this, F.relu)
  }
  /** Gaussian error linear unit, elementwise, exact or by tanh; of whole values, not of terms. */
  gelu(options: { approximate?: 'none' | 'tanh' } = {}): DistributedTensor {
    return unary('gelu', this, (x) => F.gelu(x, options))
  }
  /** this · sigmoid(this), elementwise; of whole values, not of terms. */
  silu(): DistributedTensor {
    return unary('silu', this, F.silu)
  }
  /** Sum over `dim`, over all dimensions without it. Over a cut dimension each device sums its part: terms of a sum. */
  sum(dim?: Dims, options?: KeepDim): DistributedTensor {
    return reductions.distributedSum(this, dim, options)
  }
  /** Mean over `dim`, over all dimensions without it; over a cut dimension terms of a sum, each divided by the whole count. */
  mean(dim?: Dims, options?: KeepDim): DistributedTensor {
    return reductions.distributedMean(this, dim, options)
  }
  /** Maximum over `dim`, over all dimensions without it; over a cut dimension partial maxima. */
  max(dim?: Dims, options?: KeepDim): DistributedTensor {
    return reductions.distributedMax(this, dim, options)
  }
  /** Minimum over `dim`, over all dimensions without it; over a cut dimension partial minima. */
  min(dim?: Dims, options?: KeepDim): DistributedTensor {
    return reductions.distributedMin(this, dim, options)
  }
  /** Variance over `dim` with `correction` (1) taken from the count; no reduced dimension may be cut. */
  variance(dim?: Dims, options?: KeepDim & { correction?: number }): DistributedTensor {
    return reductions.distributedVariance(this, dim, options)
  }
  /** Matrix product [..., n, k] · [..., k, m]. Cut along k on both sides, it is terms of a sum; cut rows or columns stay cut. */
  matmul(b: DistributedTensor): DistributedTensor {
    return distributedMatmul(this, b)
  }
  /** Softmax along `dim` (the last), which may not be cut. */
  softmax(dim = -1): DistributedTensor {
    return distributedSoftmax(this, dim)
  }
  /** Logarithm of softmax along `dim` (the last), which may not be cut. */
  logSoftmax(dim = -1): DistributedTensor {
    return distributedLogSoftmax(this, dim)
  }
  /** A view with the dimensions in another order; cuts move along. */
  permute(dims: readonly number[]): DistributedTensor {
    return distributedPermute(this, dims)
  }
  /** A view with two dimensions exchanged; cuts move along. Negative ones count from the end. */
  transpose(dim0: number, dim1: number): DistributedTensor {
    const dims = this.shape.map((_, d) => d)
    const at = (d: number) => (d < 0 ? d + dims.length : d)
    dims[at(dim0)] = at(dim1)
    dims[at(dim1)] = at(dim0)
    return distributedPermute(this, dims)
  }
  /** The same elements in another shape; a cut one stays the outermost of those it is joined with or split into. */
  reshape(shape: readonly number[]): DistributedTensor {
    return distributedReshape(this, shape)
  }
  /** A view of `length` places from `start` along `dim`, which may not be cut. */
  narrow(dim: number, start: number, length: number): DistributedTensor {
    return distributedNarrow(this, dim, start, length)
  }

  // Lifetime and text

  /** @internal A module that holds this has the parts for parameters. */
  get [partsOf](): readonly Tensor[] {
    return this.locals
  }
  /** Frees all parts. Idempotent. */
  dispose(): void {
    disposeAll(this.locals)
  }
  /** As dispose(), for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
  /** Shape, dtype and placements, as "DistributedTensor([4, 6], f32, { model: sharded(0) })". */
  toString(): string {
    const placements = placementsText(this.mesh, this.placed)
    const dtype = this.locals.some((local) => local.disposed) ? 'disposed' : this.dtype
    return `DistributedTensor([${this.shape.join(', ')}], ${dtype}, ${placements})`
  }
  /** @internal For console.log. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

/** How the gradient of a tensor that lies so does lie. */
function dual(placement: Placement): Placement {
  if (placement.kind === 'sharded') return placement
  return isTerms(placement) ? replicated() : partial()
}

provideDistributedClass(DistributedTensor)
