// What every tensor object is: a handle, its description fetched on first use, and its lifetime.
// Tensor adds the operators. scope.ts, debug.ts and meta.ts work on this class.
import type { DeviceName } from '../fabric/device-names.js'
import { deviceName } from '../fabric/devices.js'
import { native } from '../native/addon.js'
import type { DType } from './dtype.js'
import { dtypeName } from './dtype.js'
import type { TensorMeta } from './operators/meta.js'
import { metaOf } from './operators/meta.js'
import { debugMode, disposedError, recordSite } from './scope/debug.js'
import { keptMark, scopes } from './scope/scope-stack.js'
import { census, countUnscoped } from './values/growth.js'

export class TensorObject {
  /** @internal The handle, 0 once disposed of. */
  raw: number
  /** @internal Shape, strides, dtype and device; fetched on first use. */
  meta: TensorMeta | undefined
  /** @internal Scope mark of the latest survivor walk. */
  mark: number
  /** @internal The object that `grad` returned, owned by this one. */
  gradTensor: TensorObject | undefined

  /** @internal Adopts `handle`: this object now owns it. Use `Tensor.from`. */
  constructor(handle: number) {
    this.raw = handle
    this.meta = undefined
    this.mark = 0
    this.gradTensor = undefined
    const top = scopes.top
    census.live++
    if (top !== undefined) top.push(this)
    else countUnscoped()
    if (debugMode.on) recordSite(this)
  }

  /** The handle for native calls. Throws DisposedError after dispose(). */
  get handle(): number {
    if (this.raw === 0) throw disposedError(this)
    return this.raw
  }

  /**
   * A second, independent handle to the same tensor, to post to another thread: the receiver owns
   * it.
   */
  toHandle(): number {
    return native.retain(this.handle)
  }

  /** Sizes of the dimensions. */
  get shape(): readonly number[] {
    return metaOf(this).shape
  }
  /** Steps in elements, one a dimension. */
  get strides(): readonly number[] {
    return metaOf(this).strides
  }
  /** Element type. */
  get dtype(): DType {
    return dtypeName(metaOf(this).dtype)
  }
  /** Name of the device, for example "host:0". */
  get device(): DeviceName {
    return deviceName(metaOf(this).device)
  }
  /** Number of dimensions. */
  get rank(): number {
    return metaOf(this).shape.length
  }
  /** Number of elements. */
  get numel(): number {
    return metaOf(this).numel
  }
  /** Do the elements lie in memory in order, without gaps? */
  get isContiguous(): boolean {
    return metaOf(this).contiguous
  }
  /** True after dispose(), or when another thread released the handle. */
  get disposed(): boolean {
    return this.raw === 0 || !native.alive(this.raw)
  }

  /** Gives the handle back; memory is freed in stream order. Idempotent. */
  dispose(): void {
    const handle = this.raw
    if (handle === 0) return
    this.raw = 0
    if (this.mark !== keptMark) census.live--
    this.gradTensor?.dispose()
    native.release(handle)
  }
  /** As dispose(), for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
