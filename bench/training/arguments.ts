// Command-line values of the training benchmarks. bench/training.ts and bench/loss-curve.ts use it.
import { UsageError } from 'weft'

/** The whole number from 1 that flag `name` was given, or `otherwise` when it was not. */
export function count(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (Number.isInteger(value) && value > 0) return value
  throw new UsageError(`--${name} ${text}: it must be a whole number from 1`)
}
