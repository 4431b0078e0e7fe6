// The recording switch of this thread.
import { native } from '../native/addon.js'
import { UsageError } from '../native/errors.js'

/**
 * Runs `fn` without recording gradients and returns its result. Synchronous only: a promise is a
 * UsageError, since recording is on again when `fn` returns.
 */
export function noGrad<T>(fn: () => T): T {
  return withGrad(false, fn)
}

/** Runs `fn` with recording on, inside noGrad(). Synchronous only. */
export function enableGrad<T>(fn: () => T): T {
  return withGrad(true, fn)
}

/** Are gradients recorded on this thread now? */
export function gradEnabled(): boolean {
  return native.gradEnabled()
}

function withGrad<T>(on: boolean, fn: () => T): T {
  const before = native.setGradEnabled(on)
  try {
    const result = fn()
    if (result instanceof Promise) {
      result.catch(() => {})
      throw new UsageError('noGrad() and enableGrad() take a synchronous function; await outside')
    }
    return result
  } finally {
    native.setGradEnabled(before)
  }
}
