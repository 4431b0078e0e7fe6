// Checks of what optimizers and schedules are given: numbers in their range, names that exist. Every message
// names the option and the value.
import { UsageError } from '../native/errors.js'

/** What an option must be besides a finite number. */
export interface Range {
  from: number
  /** The largest allowed value. */
  to?: number
  /** All values are below this. */
  below?: number
  /** `from` itself is not allowed. */
  above?: boolean
}

/** Throws UsageError naming `what` unless `value` is a finite number in the range. */
export function requireNumber(what: string, value: unknown, range: Range): void {
  const { from, to = Number.POSITIVE_INFINITY, below = Number.POSITIVE_INFINITY, above } = range
  const fits =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (above ? value > from : value >= from) &&
    value <= to &&
    value < below
  if (fits) return
  const low = above ? `above ${from}` : `from ${from}`
  const high =
    range.to !== undefined ? ` to ${to}` : range.below !== undefined ? `, below ${below}` : ''
  throw new UsageError(`${what} must be a number ${low}${high}, it is ${String(value)}`)
}

/** Throws UsageError unless every name in `options` is a known one. */
export function requireKnown(what: string, options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).filter((name) => !known.includes(name))
  if (unknown.length === 0) return
  throw new UsageError(
    `${what} has no option ${unknown.join(', ')}; there are ${known.join(', ')}`,
    { unknown, known: [...known] },
  )
}
