// The folder where this machine's measurements are kept between processes: choices of all-reduce (tuned-choices.ts)
// and tests of pairs (probe-cache.ts).
import { homedir } from 'node:os'
import { join } from 'node:path'

/** $WEFT_CACHE, else weft in $XDG_CACHE_HOME, else ~/.cache/weft. It may not exist yet. */
export function cacheFolder(): string {
  const { WEFT_CACHE, XDG_CACHE_HOME } = process.env
  return WEFT_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'weft')
}
