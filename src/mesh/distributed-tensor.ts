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

export class DistributedTensor {
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

  add(b: DistributedOperand): DistributedTensor {
    return binary('add', this, b, F.add, 'sum')
  }
  sub(b: DistributedOperand): DistributedTensor {
    return binary('sub', this, b, F.sub, 'sum')
  }
  mul(b: DistributedOperand): DistributedTensor {
    return binary('mul', this, b, F.mul, 'product')
  }
  div(b: DistributedOperand): DistributedTensor {
    return binary('div', this, b, F.div, 'quotient')
  }
  pow(b: DistributedOperand): DistributedTensor {
    return binary('pow', this, b, F.pow)
  }
  maximum(b: DistributedOperand): DistributedTensor {
    return binary('maximum', this, b, F.maximum, 'max')
  }
  minimum(b: DistributedOperand): DistributedTensor {
    return binary('minimum', this, b, F.minimum, 'min')
  }
  neg(): DistributedTensor {
    return unary('neg', this, F.neg, true)
  }
  abs(): DistributedTensor {
    return unary('abs', this, F.abs)
  }
  exp(): DistributedTensor {
    return unary('exp', this, F.exp)
  }
  log(): DistributedTensor {
    return unary('log', this, F.log)
  }
  sqrt(): DistributedTensor {
    return unary('sqrt', this, F.sqrt)
  }
  rsqrt(): DistributedTensor {
    return unary('rsqrt', this, F.rsqrt)
  }
  tanh(): DistributedTensor {
    return unary('tanh', this, F.tanh)
  }
  sigmoid(): DistributedTensor {
    return unary('sigmoid', this, F.sigmoid)
  }
  relu(): DistributedTensor {
    return unary('relu', this, F.relu)
  }
  gelu(options: { approximate?: 'none' | 'tanh' } = {}): DistributedTensor {
    return unary('gelu', this, (x) => F.gelu(x, options))
  }
  silu(): DistributedTensor {
    return unary('silu', this, F.silu)
  }
  sum(dim?: Dims, options?: KeepDim): DistributedTensor {
    return reductions.distributedSum(this, dim, options)
  }
  mean(dim?: Dims, options?: KeepDim): DistributedTensor {
    return reductions.distributedMean(this, dim, options)
  }
  max(dim?: Dims, options?: KeepDim): DistributedTensor {
    return reductions.distributedMax(this, dim, options)
  }
  min(dim?: Dims, options?: KeepDim): DistributedTensor {
    return reductions.distributedMin(this, dim, options)
  }
  variance(dim?: Dims, options?: KeepDim & { correction?: number }): DistributedTensor {
    return reductions.distributedVariance(this, dim, options)
  }
  matmul(b: DistributedTensor): DistributedTensor {
    return distributedMatmul(this, b)
  }
  softmax(dim = -1): DistributedTensor {
    return distributedSoftmax(this, dim)
  }
  logSoftmax(dim = -1): DistributedTensor {
    return distributedLogSoftmax(this, dim)
  }
  permute(dims: readonly number[]): DistributedTensor {
    return distributedPermute(this, dims)
  }
  transpose(dim0: number, dim1: number): DistributedTensor {
    const dims = this.shape.map((_, d) => d)
    const at = (d: number) => (d < 0 ? d + dims.length : d)
    dims[at(dim0)] = at(dim1)
    dims[at(dim1)] = at(dim0)
    return distributedPermute(this, dims)
  }
  reshape(shape: readonly number[]): DistributedTensor {
    return distributedReshape(this, shape)
  }
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
