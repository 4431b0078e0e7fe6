// Timed events: device time between two points of a stream's work. Benchmarks and users who measure
// call it; nothing of the runtime depends on it.
import { native } from '../native/addon.js'
import type { NativeTimedEvent } from '../native/types.js'
import { deviceIndex, deviceName } from './devices.js'

/**
 * A point in the work of a device's current stream.
 *
 * ```ts
 * const [start, stop] = [new TimedEvent(device), new TimedEvent(device)]
 * start.record()
 * x.matmul(y)
 * stop.record()
 * await fabric.synchronize()
 * stop.elapsedMs(start)
 * ```
 */
export class TimedEvent {
  readonly device: string
  readonly #event: NativeTimedEvent

  /** An event of `device` (default: the default device). */
  constructor(device?: string) {
    const index = deviceIndex(device)
    this.device = deviceName(index)
    this.#event = native.createTimedEvent(index)
  }

  /** Marks what the device's current stream holds so far; again moves the mark. Never waits. */
  record(): this {
    native.recordTimedEvent(this.#event)
    return this
  }

  /** Has the device come past the mark? False before the first record(). */
  get isDone(): boolean {
    return native.timedEventDone(this.#event)
  }

  /**
   * Milliseconds of device time from `start` to this event. Both must be done, else UsageError; both
   * must belong to one device, else DeviceError.
   */
  elapsedMs(start: TimedEvent): number {
    return native.timedEventElapsed(start.#event, this.#event)
  }
}
