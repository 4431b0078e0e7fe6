// Tensor: an integer handle into the process-wide native table (tensor-object.ts) with the public
// methods. The operators' come from the operator table (generated/methods.ts); what else a tensor
// does is named here, with bodies in view.ts, conversion.ts, read.ts and autograd/gradient.ts.
//
// Every method that computes enqueues on the device's current stream and returns at once; the
// result is a new tensor that the caller owns (or the enclosing scope()). Methods on tensors of
// different devices throw DeviceError, on a disposed one DisposedError. `b: number` never changes
// the dtype of a floating tensor. Shapes broadcast as in NumPy; dtypes promote to the wider of the
// two. Methods that end with _ change the tensor: its dtype stays, shapes broadcast to its own. A
// leaf that requires gradients can be changed inside noGrad() only (UsageError); a tensor that a
// gradient formula still needs may be changed, but backward() then throws UsageError.
import type { GradientHook } from '../autograd/gradient.js'
import * as gradient from '../autograd/gradient.js'
import { native } from '../native/addon.js'
import { Op } from '../native/operators.js'
import { sizeOf } from './dims.js'
import type { TensorData } from './dtype.js'
import { TensorOperators } from './generated/methods.js'
import { type Target, to } from './operators/conversion.js'
import { runNumber } from './operators/invoke.js'
import { provideTensorClass } from './operators/make.js'
import { flatten, t } from './operators/view.js'
import { markParameter } from './parameter-mark.js'
import { requireHolds } from './values/host-values.js'
import type { NestedArray } from './values/nested.js'
import type { FormatOptions } from './values/print.js'
import { describe, format, inspect, print } from './values/print.js'
import * as read from './values/read.js'

/**
 * An n-dimensional array on one device. Operators are its methods and functions of `functional`: they check shapes and dtypes (ShapeError,
 * DtypeError, DeviceError), enqueue on the device's current stream and return at once; only `item`, `data`, `toArray` and the like wait, and are promises.
 * Views share memory. It holds device memory until dispose(), the end of its `using` or of the scope() that it was made in.
 */
export class Tensor extends TensorOperators {
  /**
   * Adopts a handle, for example one that another thread posted. The object owns it from now on.
   */
  static from(handle: number): Tensor {
    return new Tensor(handle)
  }

  /** Size of one dimension; negative counts from the end. */
  size(dim: number): number {
    return sizeOf(this, dim)
  }

  // Gradients

  /** Whether operators on it are recorded: a leaf that asks for gradients, or a result of such. */
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
  /** Replaces the gradient; null drops it. */
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

  // Compositions of operators; the operators themselves are inherited

  /** Makes dimensions start..end (inclusive) one. */
  flatten(start = 0, end = -1): Tensor {
    return flatten(this, start, end)
  }
  /** Transposes a matrix; a vector stays as it is. */
  t(): Tensor {
    return t(this)
  }
  /**
   * To another device and/or dtype; a new Tensor object over the same memory when nothing changes.
   */
  to(target: Target): Tensor {
    return to(this, target)
  }

  /** this = value; the dtype must be able to hold it. */
  fill_(value: number): this {
    requireHolds('the value', value, this.dtype)
    runNumber(Op.fill_, this, value)
    return this
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

  /** Values and description as text, when the device has them. */
  format(options?: FormatOptions): Promise<string> {
    return format(this, options)
  }
  /** Writes values and description to the console when the device has them: `await` it. */
  print(options?: FormatOptions): Promise<void> {
    return print(this, options)
  }
  /** Shape, dtype and device. Values need `await x.print()`. */
  override toString(): string {
    return describe(this)
  }
  /** @internal For console.log: at once, with values where they lie ready. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return inspect(this)
  }
}

provideTensorClass(Tensor)
