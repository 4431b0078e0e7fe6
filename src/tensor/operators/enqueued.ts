// Tells promise-like objects whose call is over on the host (its work is enqueued) from promises of
// code that still runs: scope() lets the former pass. Collective works carry the mark.

/** Present on such an object. */
export const enqueued: unique symbol = Symbol('weft.enqueued')

/** Is `value` a promise of code that still runs? */
export function isUnfinished(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !(enqueued in value) &&
    typeof (value as { then?: unknown }).then === 'function'
  )
}
