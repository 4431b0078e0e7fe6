// Mixed precision as a region of code: what operators inside compute in. Users and the trainer's workers call
// it; the casts are native (native/dispatch/autocast.h), the classes of operators in native/dispatch/autocast.def.
import { native, words } from '../native/addon.js'
import { DtypeError, UsageError } from '../native/errors.js'
import type { Tensor } from '../tensor/tensor.js'

/** What products compute in: a low precision, or as their operands are. */
export type AutocastDtype = 'bf16' | 'f16' | 'f32'

/** By native mode: 0 is no region, 1 a region that casts nothing. */
const modes = ['', 'f32', 'f16', 'bf16']

/** How a region goes about its work. */
export interface AutocastOptions {
  /**
   * The model's parameters. Those that the region before on this thread cast are cast in one launch when this one
   * begins, not one by one at their first use: on a GPU some percent of a small model's step. Results are the same.
   */
  weights?: readonly Tensor[]
}

/**
 * Runs `fn` with operators of this thread in mixed precision, and returns its result: products (matmul, linear,
 * attention) with operands cast to `dtype`, norms, softmax, losses and sums in f32, everything else as its operands
 * promote (docs/precision.md has the table). 'f32' or false switches that off inside a region. Gradients come back
 * in the dtype of the leaf; the backward pass runs as it was recorded, inside or outside. A weight is cast once
 * until the outermost region ends or the weight changes. Enqueues, never waits.
 *
 * Synchronous only: a promise is a UsageError, since the region has ended when `fn` returns.
 */
export function autocast<T>(
  dtype: AutocastDtype | false,
  fn: () => T,
  { weights = [] }: AutocastOptions = {},
): T {
  const mode = modes.indexOf(dtype === false ? 'f32' : dtype)
  if (mode < 1) {
    throw new DtypeError(
      `autocast takes 'bf16', 'f16', 'f32' or false, not ${JSON.stringify(dtype)}`,
    )
  }
  const before = native.enterAutocast(mode)
  try {
    if (weights.length > 0 && mode > 1) {
      const listed = weights.slice(0, words.length)
      listed.forEach((weight, i) => {
        words[i] = weight.handle
      })
      native.castAhead(listed.length)
    }
    const result = fn()
    if (result instanceof Promise) {
      result.catch(() => {})
      throw new UsageError('autocast() takes a synchronous function; await outside')
    }
    return result
  } finally {
    native.leaveAutocast(before)
  }
}

/** What products of this thread are cast to now; undefined outside a region and where it is switched off. */
export function autocastDtype(): 'bf16' | 'f16' | undefined {
  const mode = modes[native.autocastMode()]
  return mode === 'bf16' || mode === 'f16' ? mode : undefined
}
