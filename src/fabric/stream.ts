// Streams of a device: ordered queues of work. Operators of a thread run on the device's current
// stream, which is its compute stream unless withStream() says otherwise.
import { native } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { deviceIndex, deviceName } from './devices.js'

/** A stream of one device. Streams live as long as the process. */
export interface Stream {
  readonly device: string
  /** 0..3 are the device's own (compute, comm, copy in, copy out). */
  readonly id: number
}

/** A new stream of the device; lower `priority` numbers run first. */
export function createStream(device?: string, options: { priority?: number } = {}): Stream {
  const index = deviceIndex(device)
  return { device: deviceName(index), id: native.createStream(index, options.priority ?? 0) }
}

/** The stream that operators of this thread use on the device. */
export function currentStream(device?: string): Stream {
  const index = deviceIndex(device)
  return { device: deviceName(index), id: native.currentStream(index) }
}

/**
 * `later` waits, on the device, for everything enqueued on `earlier` so far. The host does not
 * wait.
 */
export function streamWait(later: Stream, earlier: Stream): void {
  native.streamWait(deviceIndex(later.device), later.id, deviceIndex(earlier.device), earlier.id)
}

/** Runs `fn` (synchronous) with `stream` as the current stream of its device. Order against other
 * streams stays the caller's: use streamWait() before and after. */
export function withStream<T>(stream: Stream, fn: () => T): T {
  const index = deviceIndex(stream.device)
  const before = native.currentStream(index)
  native.setCurrentStream(index, stream.id)
  try {
    const result = fn()
    if (result instanceof Promise) {
      result.catch(() => {})
      throw new UsageError('withStream() takes a synchronous function; await outside')
    }
    return result
  } finally {
    native.setCurrentStream(index, before)
  }
}
