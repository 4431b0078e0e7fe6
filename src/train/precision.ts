// The `precision` of a run: which there are, what the process' f32 products do meanwhile, and what f16 runs report.
// The coordinator uses it; what a worker does is worker/mixed-precision.ts.
import { allowTf32, tf32Allowed } from '../tensor/precision.js'

/**
 * What a run computes in; parameters and optimizer state are f32 in all.
 *  - f32: products exactly in f32; tf32: f32 products may take TF32 tensor cores, on GPUs
 *  - bf16, f16: the task's loss and evaluation run in autocast; f16 with its loss scaled
 */
export const precisions = ['f32', 'tf32', 'bf16', 'f16'] as const
/** What a run computes in: `f32`, `tf32` (f32 products on TF32 tensor cores), `bf16` or `f16` (products in autocast; f16 with its loss scaled). Parameters stay f32. */
export type Precision = (typeof precisions)[number]

/** The loss scale of an f16 run, and the steps left out of it or of one with `nonFinite: 'skip'`. */
export interface LossScale {
  /** Undefined where no loss is scaled. */
  scale: number | undefined
  /** Steps that were left out because gradients were not finite. */
  skipped: number
}

/** The loss scale as reports name it; nothing where no step can be left out. */
export function lossScaleFields(state: LossScale | undefined): {
  lossScale?: number
  skippedSteps?: number
} {
  if (state === undefined) return {}
  const { scale, skipped } = state
  return { ...(scale === undefined ? {} : { lossScale: scale }), skippedSteps: skipped }
}

/** The precision of a run for which nobody asked: as allowTf32() stands. */
export function precisionOf(asked: Precision | undefined): Precision {
  return asked ?? (tf32Allowed() ? 'tf32' : 'f32')
}

/** Sets what f32 products of the process may do, where the run asks for it. Returns what puts it back. */
export function applyTf32(asked: Precision | undefined): () => void {
  const before = tf32Allowed()
  if (asked === 'f32' || asked === 'tf32') allowTf32(asked === 'tf32')
  return () => allowTf32(before)
}
