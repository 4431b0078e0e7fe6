// The error classes of weft, one a row of fabric/include/fabric/error_codes.def, and the function
// that turns a native error into its class. test/host/fabric/tables.test.ts compares the two lists.

/** Base of every error that weft throws. `code` is stable; `fields` carries details by name. */
export class WeftError extends Error {
  readonly code: string
  readonly fields: Readonly<Record<string, unknown>>
  /** The file that the flight recorder wrote when this came (`openFabric({ flightRecorder })`). */
  declare flightRecord?: string

  constructor(code: string, message: string, fields: Readonly<Record<string, unknown>> = {}) {
    super(message)
    this.name = new.target.name
    this.code = code
    this.fields = fields
  }
}

type Fields = Readonly<Record<string, unknown>>

/** The call itself is wrong: an argument, an order of calls, a closed object. */
export class UsageError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_USAGE', message, fields)
  }
}

/** Shapes, dimensions or element counts do not fit. */
export class ShapeError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_SHAPE', message, fields)
  }
}

/** The element type is not supported here or does not match. */
export class DtypeError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_DTYPE', message, fields)
  }
}

/** No such device or driver, or tensors on different devices. */
export class DeviceError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_DEVICE', message, fields)
  }
}

/** A tensor was used after it was disposed of. */
export class DisposedError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_DISPOSED', message, fields)
  }
}

/** A device has no memory left; `fields` tells requested, free, cached and the largest holders. */
export class OutOfMemoryError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_OUT_OF_MEMORY', message, fields)
  }
}

/** The CUDA runtime or driver reported an error. */
export class CudaError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_CUDA', message, fields)
  }
}

/** Two devices cannot reach each other's memory, or the pair failed its probe. */
export class PeerAccessError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_PEER_ACCESS', message, fields)
  }
}

/** Ranks of a group made different calls; the message names rank, operation and difference. */
export class DesyncError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_DESYNC', message, fields)
  }
}

/** A rank did not come before the deadline; `fields.missing` lists the ranks. */
export class CollectiveTimeoutError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_COLLECTIVE_TIMEOUT', message, fields)
  }
}

/** A plugin could not be loaded or failed. */
export class PluginError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_PLUGIN', message, fields)
  }
}

/** A checkpoint is missing, damaged or does not match the model. */
export class CheckpointError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_CHECKPOINT', message, fields)
  }
}

/** A device failed for good; the process must restart. */
export class FabricPoisonedError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_FABRIC_POISONED', message, fields)
  }
}

/** A worker thread died or did not answer. */
export class WorkerError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_WORKER', message, fields)
  }
}

/** The loss is NaN or infinite. */
export class NonFiniteLossError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_NON_FINITE_LOSS', message, fields)
  }
}

/** A group was aborted with an error that is not weft's; `cause` is that error. */
export class GroupAbortedError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_GROUP_ABORTED', message, fields)
    const cause = abortCause(fields)
    if (cause !== undefined) this.cause = cause
  }
}

/**
 * Placements of distributed tensors do not fit. `fields.calls` are the redistributions that cost least and make them
 * fit, `fields.bytes` what these move to each device.
 */
export class PlacementError extends WeftError {
  constructor(message: string, fields: Fields = {}) {
    super('WEFT_PLACEMENT', message, fields)
  }
}

// What this thread aborted groups with, by group: native code carries an error's text, not the error.
const abortedWith = new Map<number, Error>()

/** @internal Remembers what this thread aborts group `id` with; undefined forgets. */
export function rememberAbort(id: number, error: Error | undefined): void {
  if (error === undefined) abortedWith.delete(id)
  else abortedWith.set(id, error)
}

/** The error itself on the thread that aborted, elsewhere one with its name, message and stack. */
function abortCause({ group, name, message, stack }: Fields): Error | undefined {
  if (typeof message !== 'string') return undefined
  const own = abortedWith.get(group as number)
  if (own !== undefined && own.message === message) return own
  const cause = new Error(message)
  if (typeof name === 'string') cause.name = name
  if (typeof stack === 'string') cause.stack = stack
  return cause
}

/** Constructor of any of the classes above. */
export type WeftErrorClass = new (message: string, fields?: Fields) => WeftError

/** The classes by native error number minus 1. */
export const errorClasses: readonly WeftErrorClass[] = [
  UsageError,
  ShapeError,
  DtypeError,
  DeviceError,
  DisposedError,
  OutOfMemoryError,
  CudaError,
  PeerAccessError,
  DesyncError,
  CollectiveTimeoutError,
  PluginError,
  CheckpointError,
  FabricPoisonedError,
  WorkerError,
  NonFiniteLossError,
  GroupAbortedError,
  PlacementError,
]

/** The native number of an error's class; undefined for errors that are not one of these. */
export function weftErrorNumber(error: unknown): number | undefined {
  const at = errorClasses.findIndex((cls) => error instanceof cls)
  return at < 0 ? undefined : at + 1
}

/** Makes the error that native code throws; registered with the addon once a thread. */
export function makeNativeError(code: number, message: string, fieldsJson: string): Error {
  const cls = errorClasses[code - 1]
  if (!cls) return new WeftError(`WEFT_NATIVE_${code}`, message)
  const error = new cls(message, parseFields(fieldsJson))
  observer?.(error)
  return error
}

let observer: ((error: WeftError) => void) | undefined

/** @internal `look` sees each error of native code on this thread as it is made; it must not throw. */
export function observeNativeErrors(look: ((error: WeftError) => void) | undefined): void {
  observer = look
}

function parseFields(json: string): Fields {
  if (json === '') return {}
  try {
    return JSON.parse(json) as Fields
  } catch {
    return { raw: json }
  }
}
