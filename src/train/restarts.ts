// Starting a run again after a worker failed: which failures a new attempt may mend, and with what options it goes
// on. Trainer.fit() asks between attempts.
import { CollectiveTimeoutError, WorkerError } from '../native/errors.js'
import type { CheckedOptions } from './options.js'

/**
 * Is it a failure that another attempt may not meet? A worker that died, threw or stood still, or a rank that did not
 * come; not what the user ended, called wrongly, or what the device or the numbers say.
 */
export function mayRestart(error: unknown): error is WorkerError | CollectiveTimeoutError {
  if (error instanceof WorkerError) return error.fields.aborted !== true
  return error instanceof CollectiveTimeoutError
}

/** The options of the next attempt: it goes on in the folder of the one that failed, where that had one. */
export function nextAttempt(options: CheckedOptions, run: string | undefined): CheckedOptions {
  return run === undefined ? options : { ...options, resume: run }
}
