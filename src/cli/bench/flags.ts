// Numbers, sizes and amounts of work that the commands which measure all-reduces share (`weft bench`, `weft tune`).
import { UsageError } from '../../native/errors.js'
import { parseBytes } from './figures.js'

/** dtypes whose sums can be checked, and their bytes. */
export const elementBytes = { f32: 4, f16: 2, bf16: 2, f64: 8 }

/** A number from `least` on; UsageError naming the flag otherwise. */
export function number(name: string, text: string, least: number): number {
  const value = Number(text)
  if (Number.isFinite(value) && value >= least) return value
  throw new UsageError(`--${name} ${JSON.stringify(text)}: give a number from ${least} on`)
}

/** Bytes as in '64K'; UsageError naming the flag otherwise. */
export function bytesOf(name: string, text: string): number {
  const bytes = parseBytes(text)
  if (bytes !== undefined && bytes > 0) return bytes
  throw new UsageError(`--${name} ${JSON.stringify(text)}: give a size such as 8, 64K, 1M or 8G`)
}

/** Numbers of CTAs; UsageError otherwise. */
export function ctasOf(flag: string): number[] {
  const list = flag.split(',').map(Number)
  if (list.every((count) => Number.isInteger(count) && count > 0 && count < 65536)) return list
  throw new UsageError(`--ctas ${JSON.stringify(flag)}: give counts such as 1,8,32,132`)
}

/** How often a size is called: figures of small sizes need many calls, large ones take long. */
export function plan(bytes: number, host: boolean): { calls: number; graphCalls: number } {
  if (host) return bytes <= 2 ** 16 ? { calls: 10, graphCalls: 10 } : { calls: 2, graphCalls: 2 }
  if (bytes <= 2 ** 20) return { calls: 50, graphCalls: 100 }
  if (bytes <= 2 ** 26) return { calls: 20, graphCalls: 20 }
  return bytes <= 2 ** 30 ? { calls: 5, graphCalls: 5 } : { calls: 2, graphCalls: 2 }
}
