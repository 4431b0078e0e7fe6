// Tensor: an integer handle into the process-wide native table (tensor-object.ts) with the public
// methods. Bodies lie by subject in elementwise.ts, reduction.ts, matrix.ts, view.ts,
// conversion.ts, inplace.ts, read.ts and autograd/gradient.ts; this class only names them.
//
// Every method that computes enqueues on the device's current stream and returns at once; the
// result is a new tensor that the caller owns (or the enclosing scope()). Methods on tensors of
// different devices throw DeviceError, on a disposed one DisposedError. `b: number` never changes
// the dtype of a floating tensor. Shapes broadcast as in NumPy; dtypes promote to the wider of the
// two.
import type { GradientHook } from '../autograd/gradient.js'
import * as gradient from '../autograd/gradient.js'
import { native } from '../native/addon.js'
import * as conversion from './conversion.js'
import type { DType, TensorData } from './dtype.js'
import * as elementwise from './elementwise.js'
import * as inplace from './inplace.js'
import { provideTensorClass } from './make.js'
import * as matrix from './matrix.js'
import type { NestedArray } from './nested.js'
import { markParameter } from './parameter-mark.js'
import { describe } from './print.js'
import * as read from './read.js'
import type { Dims, ReduceOptions } from './reduction.js'
import * as reduction from './reduction.js'
import { TensorObject } from './tensor-object.js'
import * as view from './view.js'

export class Tensor extends TensorObject {
  /**
   * Adopts a handle, for example one that another thread posted. The object owns it from now on.
   */
  static from(handle: number): Tensor {
    return new Tensor(handle)
  }

  /** Size of one dimension; negative counts from the end. */
  size(dim: number): number {
    return view.sizeOf(this, dim)
  }

  // Gradients

  get requiresGrad(): boolean {
    return (native.tensorFlags(this.handle) & 1) !== 0
  }
  /** Not made by a recorded operator? */
  get isLeaf(): boolean {
    return (native.tensorFlags(this.handle) & 2) !== 0
  }
  /** Name of the operator that made this tensor, undefined for a leaf. */
  get gradFn(): string | undefined {
    return native.gradFnName(this.handle) || undefined
  }
  /**
   * The accumulated gradient of a leaf. The object belongs to this tensor; clone() it to keep it.
   */
  get grad(): Tensor | null {
    return gradient.getGrad(this)
  }
  set grad(value: Tensor | null) {
    gradient.setGrad(this, value)
  }
  /** Makes this leaf ask for gradients, or stop. Floating dtypes only. Returns this. */
  requiresGrad_(on = true): this {
    native.setRequiresGrad(this.handle, on)
    if (on) markParameter(this)
    return this
  }
  /** Drops the gradient, or fills it with zeros in place when `toZero`. */
  zeroGrad(toZero = false): void {
    native.zeroGrad(this.handle, toZero)
  }
  /**
   * Computes the gradients of this tensor with respect to all leaves and adds them to their `grad`.
   * `grad` has this tensor's shape; without it the tensor must have one element. Enqueues, never
   * waits.
   */
  backward(grad?: Tensor, options: { retainGraph?: boolean } = {}): void {
    gradient.backward([this], grad ? [grad] : undefined, options)
  }
  /** Calls `hook` with every gradient that reaches this tensor; it may return a replacement. */
  registerHook(hook: GradientHook): () => void {
    return gradient.registerHook(this, hook)
  }
  /** Calls `hook` each time this leaf's gradient is complete. */
  registerLeafHook(hook: () => void): () => void {
    return gradient.registerLeafHook(this, hook)
  }

  // Elementwise: with a tensor (broadcast) or a number. Comparisons give bool. For number - tensor
  // and number / tensor see F.sub and F.div.

  add(b: Tensor | number): Tensor {
    return elementwise.add(this, b)
  }
  sub(b: Tensor | number): Tensor {
    return elementwise.sub(this, b)
  }
  mul(b: Tensor | number): Tensor {
    return elementwise.mul(this, b)
  }
  div(b: Tensor | number): Tensor {
    return elementwise.div(this, b)
  }
  pow(b: Tensor | number): Tensor {
    return elementwise.pow(this, b)
  }
  maximum(b: Tensor | number): Tensor {
    return elementwise.maximum(this, b)
  }
  minimum(b: Tensor | number): Tensor {
    return elementwise.minimum(this, b)
  }
  eq(b: Tensor | number): Tensor {
    return elementwise.eq(this, b)
  }
  ne(b: Tensor | number): Tensor {
    return elementwise.ne(this, b)
  }
  lt(b: Tensor | number): Tensor {
    return elementwise.lt(this, b)
  }
  le(b: Tensor | number): Tensor {
    return elementwise.le(this, b)
  }
  gt(b: Tensor | number): Tensor {
    return elementwise.gt(this, b)
  }
  ge(b: Tensor | number): Tensor {
    return elementwise.ge(this, b)
  }
  neg(): Tensor {
    return elementwise.neg(this)
  }
  abs(): Tensor {
    return elementwise.abs(this)
  }
  sign(): Tensor {
    return elementwise.sign(this)
  }
  reciprocal(): Tensor {
    return elementwise.reciprocal(this)
  }
  exp(): Tensor {
    return elementwise.exp(this)
  }
  log(): Tensor {
    return elementwise.log(this)
  }
  sqrt(): Tensor {
    return elementwise.sqrt(this)
  }
  rsqrt(): Tensor {
    return elementwise.rsqrt(this)
  }
  sin(): Tensor {
    return elementwise.sin(this)
  }
  cos(): Tensor {
    return elementwise.cos(this)
  }
  tanh(): Tensor {
    return elementwise.tanh(this)
  }
  sigmoid(): Tensor {
    return elementwise.sigmoid(this)
  }
  relu(): Tensor {
    return elementwise.relu(this)
  }
  /** Exact by default; `approximate: 'tanh'` for the tanh form. */
  gelu(options: { approximate?: 'none' | 'tanh' } = {}): Tensor {
    return elementwise.gelu(this, options)
  }
  silu(): Tensor {
    return elementwise.silu(this)
  }
  clamp(low: number, high: number): Tensor {
    return elementwise.clamp(this, low, high)
  }
  logicalNot(): Tensor {
    return elementwise.logicalNot(this)
  }
  isFinite(): Tensor {
    return elementwise.finite(this)
  }

  // Reductions: over all dimensions without `dim`. keepDim leaves size 1.

  sum(dim?: Dims, options?: ReduceOptions): Tensor {
    return reduction.sum(this, dim, options)
  }
  mean(dim?: Dims, options?: ReduceOptions): Tensor {
    return reduction.mean(this, dim, options)
  }
  max(dim?: Dims, options?: ReduceOptions): Tensor {
    return reduction.max(this, dim, options)
  }
  min(dim?: Dims, options?: ReduceOptions): Tensor {
    return reduction.min(this, dim, options)
  }
  /** Position of the first largest element, i64; over all elements (flattened) without `dim`. */
  argmax(dim?: number, options?: ReduceOptions): Tensor {
    return reduction.argmax(this, dim, options)
  }
  /** Variance; `correction` 1 (default) divides by n - 1. */
  var(dim?: Dims, options?: ReduceOptions & { correction?: number }): Tensor {
    return reduction.variance(this, dim, options)
  }
  softmax(dim = -1): Tensor {
    return matrix.softmax(this, dim)
  }
  logSoftmax(dim = -1): Tensor {
    return matrix.logSoftmax(this, dim)
  }
  /** (…, n, k) · (…, k, m) -> (…, n, m), batch dimensions broadcast. */
  matmul(b: Tensor): Tensor {
    return matrix.matmul(this, b)
  }

  // Views: share memory with this tensor, and record gradients

  /** Another shape over the same memory; throws ShapeError where strides do not allow it. */
  view(shape: readonly number[]): Tensor {
    return view.view(this, shape)
  }
  /** A view where possible, else a copy. One size may be -1. */
  reshape(shape: readonly number[]): Tensor {
    return view.reshape(this, shape)
  }
  /** Makes dimensions start..end (inclusive) one. */
  flatten(start = 0, end = -1): Tensor {
    return view.flatten(this, start, end)
  }
  transpose(dim0: number, dim1: number): Tensor {
    return view.transpose(this, dim0, dim1)
  }
  /** Transposes a matrix; a vector stays as it is. */
  t(): Tensor {
    return view.t(this)
  }
  permute(dims: readonly number[]): Tensor {
    return view.permute(this, dims)
  }
  /** Fixes `dim` at `index` and removes it. */
  select(dim: number, index: number): Tensor {
    return view.select(this, dim, index)
  }
  /** All slices along `dim` (default 0), without it. */
  unbind(dim = 0): Tensor[] {
    return view.unbind(this, dim)
  }
  /** Pieces of `size` along `dim` (default 0); the last one may be shorter. */
  split(size: number, dim = 0): Tensor[] {
    return view.split(this, size, dim)
  }
  /** Elements start..start+length-1 of `dim`. */
  narrow(dim: number, start: number, length: number): Tensor {
    return view.narrow(this, dim, start, length)
  }
  /** Elements start..stop-1 of `dim`, each `step`-th; negatives count from the end. */
  slice(dim: number, start: number, stop?: number, step = 1): Tensor {
    return view.slice(this, dim, start, stop, step)
  }
  /** Repeats dimensions of size 1 without copying; -1 keeps a size. */
  expand(shape: readonly number[]): Tensor {
    return view.expand(this, shape)
  }
  /** Removes dimensions of size 1: all, or the given ones. */
  squeeze(dim?: Dims): Tensor {
    return view.squeeze(this, dim)
  }
  unsqueeze(dim: number): Tensor {
    return view.unsqueeze(this, dim)
  }
  /** out[i][j] = this[i][index[i][j]] for dim 1, and so on; `index` is i64 or i32. */
  gather(dim: number, index: Tensor): Tensor {
    return view.gather(this, dim, index)
  }

  // Movement

  /**
   * To another device and/or dtype; a new Tensor object over the same memory when nothing changes.
   */
  to(target: string | { dtype?: DType; device?: string }): Tensor {
    return conversion.to(this, target)
  }
  contiguous(): Tensor {
    return conversion.contiguous(this)
  }
  /** A copy in new, contiguous memory; gradients flow through. */
  clone(): Tensor {
    return conversion.clone(this)
  }
  /** The same memory without gradient history. */
  detach(): Tensor {
    return conversion.detach(this)
  }

  // In place: change this tensor and return it. Shapes broadcast to this one's, its dtype stays.

  add_(b: Tensor | number): this {
    return inplace.add(this, b)
  }
  sub_(b: Tensor | number): this {
    return inplace.sub(this, b)
  }
  mul_(b: Tensor | number): this {
    return inplace.mul(this, b)
  }
  div_(b: Tensor | number): this {
    return inplace.div(this, b)
  }
  /** Copies `b` here: casts, broadcasts, also from another device. */
  copy_(b: Tensor): this {
    return inplace.copy(this, b)
  }
  zero_(): this {
    return inplace.zero(this)
  }
  fill_(value: number): this {
    return inplace.fill(this, value)
  }

  // Values: wait for the device without blocking the event loop

  /** The value of a one-element tensor. */
  item(): Promise<number> {
    return read.item(this)
  }
  /**
   * All elements in order: f16 and bf16 as Float32Array, i64 as BigInt64Array, bool as Uint8Array.
   */
  data(): Promise<TensorData> {
    return read.data(this)
  }
  /** Nested arrays in this tensor's shape; i64 as numbers, bool as booleans. */
  toArray(): Promise<NestedArray> {
    return read.toArray(this)
  }
  /** The raw elements in this tensor's own dtype, contiguous. */
  bytes(): Promise<ArrayBuffer> {
    return native.read(this.handle)
  }

  /** Shape, dtype and device. Values need `await print(t)`. */
  override toString(): string {
    return describe(this)
  }
}

provideTensorClass(Tensor)
