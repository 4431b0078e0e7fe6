// Tells promise-like objects whose call is over on the host (its work is enqueued) from promises of
// code that still runs: scope() lets the former pass. Collective works carry the mark.

/** Present on such an object. */
export const enqueued: unique symbol = Symbol('weft.enqueued')
