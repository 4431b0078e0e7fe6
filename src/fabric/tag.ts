// Tags: names that a program gives to what it enqueues. tag() sets the current thread's tag in native
// code, which puts its number in each record; readers of records ask here for the names.
import { native } from '../native/addon.js'
import { UsageError } from '../native/errors.js'

const numbers = new Map<string, number>()
const names: string[] = []
let current = ''

/**
 * Runs `fn` and returns its result; what it enqueues carries `name` in the event log (`event.tag`), in `weft inspect`
 * and in Perfetto traces, on any device, and in backward passes that it calls. A tag inside another is
 * 'forward/attention'. While the log is off nothing is noted. `fn` must be synchronous: a promise is a UsageError, since
 * the tag ends when `fn` returns. A process has 4,095 different tags; further ones are shown as '(other tags)'.
 */
export function tag<T>(name: string, fn: () => T): T {
  if (typeof name !== 'string' || name === '') {
    throw new UsageError(`tag() takes a name and a function, not ${JSON.stringify(name)}`)
  }
  if (native.logMode() === 0) return synchronous(fn())
  const outer = current
  current = outer === '' ? name : `${outer}/${name}`
  const before = native.setTag(numberOf(current))
  try {
    return synchronous(fn())
  } finally {
    current = outer
    native.setTag(before)
  }
}

/** @internal The tag with this number in a record; undefined for 0. */
export function tagName(number: number): string | undefined {
  if (number > names.length) names.push(...native.tagNames(names.length))
  return names[number - 1]
}

function numberOf(path: string): number {
  const known = numbers.get(path)
  if (known !== undefined) return known
  const number = native.tagNumber(path)
  if (numbers.size < 4096) numbers.set(path, number)
  return number
}

function synchronous<T>(result: T): T {
  if (!(result instanceof Promise)) return result
  result.catch(() => {})
  throw new UsageError('tag() takes a synchronous function; await outside of it')
}
