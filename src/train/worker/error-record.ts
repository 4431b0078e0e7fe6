// Errors as plain data, in a form that survives postMessage with class, fields, stack and causes. Workers
// make records of what was thrown, the coordinator makes errors of them again.
import { errorClasses, type WeftError } from '../../native/errors.js'
import { threwIn } from './task-call.js'

/** An error as plain data. */
export interface ErrorRecord {
  code: string | undefined
  name: string
  message: string
  fields: Record<string, unknown>
  stack: string | undefined
  /** Step that the rank worked on, 0 outside the steps. */
  step: number
  /** The task's part that threw, such as 'task.loss'; undefined when no code of the task ran. */
  part: string | undefined
  /** What the error itself names as its cause. */
  cause: ErrorRecord | undefined
}

/** So many causes of causes are kept. */
const CAUSES = 5

/** Turns anything thrown into plain data. */
export function toErrorRecord(thrown: unknown, step = 0, causes = CAUSES): ErrorRecord {
  const part = threwIn(thrown)
  if (!(thrown instanceof Error)) {
    return {
      code: undefined,
      name: 'Error',
      message: textOf(thrown),
      fields: {},
      stack: undefined,
      step,
      part,
      cause: undefined,
    }
  }
  const { code, fields } = thrown as Partial<WeftError>
  return {
    code: typeof code === 'string' ? code : undefined,
    name: String(thrown.name),
    message: String(thrown.message),
    fields: cloneable(fields),
    stack: typeof thrown.stack === 'string' ? thrown.stack : undefined,
    step,
    part,
    cause:
      thrown.cause === undefined || causes === 0
        ? undefined
        : toErrorRecord(thrown.cause, step, causes - 1),
  }
}

/** Anything as text, also what refuses to be text. */
function textOf(value: unknown): string {
  try {
    return String(value)
  } catch {
    return Object.prototype.toString.call(value)
  }
}

/** Fields that structured clone takes; what it refuses becomes text. */
function cloneable(fields: unknown): Record<string, unknown> {
  if (typeof fields !== 'object' || fields === null) return {}
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => {
      try {
        return [key, structuredClone(value)]
      } catch {
        return [key, textOf(value)]
      }
    }),
  )
}

/** Is this one of weft's own errors? */
export function isWeftRecord(record: ErrorRecord): boolean {
  return classOf(record) !== undefined
}

function classOf(record: ErrorRecord) {
  return errorClasses.find((cls) => cls.name === record.name && record.code?.startsWith('WEFT_'))
}

/** Makes the error again, with its class, its stack, its causes, and `extra` added to its fields. */
export function reviveError(
  record: ErrorRecord,
  message = record.message,
  extra: Record<string, unknown> = {},
): Error {
  const cls = classOf(record)
  const error = cls
    ? new cls(message, { ...record.fields, ...extra })
    : Object.assign(new Error(message), { name: record.name })
  if (record.stack !== undefined) error.stack = record.stack
  if (record.cause !== undefined) error.cause = reviveError(record.cause)
  return error
}
