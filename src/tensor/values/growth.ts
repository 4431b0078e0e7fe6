// Watches for steps outside scope(): a loop that disposes of nothing fills the device's memory, as garbage collection
// frees nothing. This thread's tensors are counted (two additions a tensor); when, over several windows in a row, most of
// those made outside all scopes stayed, one warning tells. Tensors marked with keep() do not count.
// The Tensor constructor, dispose(), keep() and scope() call this.

/** Tensors made outside all scopes between two looks. */
const window = 512
/** Windows in a row that must grow. */
const patience = 8

export const census = {
  /** Tensors of this thread that are neither disposed of nor kept. */
  live: 0,
  /** Made outside all scopes since the last look. */
  unscoped: 0,
}

let before = 0
let grown = 0
let warned = false

/** Counts a tensor made outside all scopes, which is in `live` already. */
export function countUnscoped(): void {
  if (++census.unscoped < window || warned) return
  census.unscoped = 0
  const growth = census.live - before
  before = census.live
  grown = growth >= (window * 3) / 4 ? grown + 1 : 0
  if (grown < patience) return
  warned = true
  process.emitWarning(
    `${window * patience} tensors were made outside scope() and hardly any was disposed of; ${census.live} are alive ` +
      'on this thread. Run each step in scope(() => …), or dispose() of what it makes: garbage collection frees no ' +
      'device memory. keep() marks tensors that are meant to stay; WEFT_DEBUG=1 tells where leaked ones were made',
    { code: 'WEFT_GROWTH' },
  )
}
