// Where the task's own code runs: whatever it throws is known as the task's afterwards, so that its faults
// and weft's are told apart. The worker calls every part of a task through here.

const parts = new WeakMap<object, string>()

/** Runs `body`, code of the task; `part` names it in errors: 'task.loss'. */
export function inTask<T>(part: string, body: () => T): T {
  try {
    const result = body()
    return (isPromise(result) ? result.catch((error) => rethrow(part, error)) : result) as T
  } catch (error) {
    return rethrow(part, error)
  }
}

/** The part of the task that threw `error`; undefined when the task did not. */
export function threwIn(error: unknown): string | undefined {
  return typeof error === 'object' && error !== null ? parts.get(error) : undefined
}

const isPromise = (value: unknown): value is Promise<unknown> => value instanceof Promise

function rethrow(part: string, thrown: unknown): never {
  const error = typeof thrown === 'object' && thrown !== null ? thrown : new Error(String(thrown))
  if (!parts.has(error)) parts.set(error, part)
  throw error
}
