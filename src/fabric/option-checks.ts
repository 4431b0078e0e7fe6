// Checks of options that several calls of the fabric take: no name that nothing knows, deadlines that are
// deadlines. openFabric(), groups and synchronize() call them.
import { UsageError } from '../native/errors.js'

/** The longest deadline: what a timer and the native side hold. */
const longestMs = 2 ** 31 - 1

/** Throws UsageError naming the first option of `call` that is not one of `known`. */
export function requireKnownOptions(call: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw new UsageError(`${call} takes an object of options: ${known.join(', ')}`)
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown === undefined) return
  throw new UsageError(`${call} has no option ${unknown}; it has ${known.join(', ')}`, {
    option: unknown,
  })
}

/** `timeoutMs` itself; throws UsageError when it is not a positive time in milliseconds. */
export function requireTimeout(timeoutMs: number): number {
  if (typeof timeoutMs === 'number' && timeoutMs > 0 && timeoutMs <= longestMs) return timeoutMs
  throw new UsageError(
    `timeoutMs must be milliseconds above 0 and at most ${longestMs}, not ${String(timeoutMs)}`,
    { timeoutMs: String(timeoutMs) },
  )
}
