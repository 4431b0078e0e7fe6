// The loaded addon of this thread and its call buffer. Everything native goes through `native`;
// operator calls write their arguments to `words` first (see types.ts).
import { makeNativeError } from './errors.js'
import { loadAddon } from './load.js'
import type { Addon } from './types.js'

/** Length of the call buffer. */
export const wordCount = 4096

/** The addon. */
export const native: Addon = loadAddon()

/** Arguments and further results of native calls; valid only until the next call. */
export const words: Float64Array = new Float64Array(wordCount)

native.setErrorFactory(makeNativeError)
native.setCallBuffer(words)
