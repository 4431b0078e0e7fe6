// The flight recorder of a run: keeps the event log on while it goes, and when the run fails writes a
// snapshot of that moment, with the calls that were open, to flight.bin in the run's folder. The
// coordinator makes one for each run; a run without a folder records nothing.

import type { Fabric, LogMode } from '../fabric/fabric.js'
import { nameRecord, recordState } from '../fabric/failure-recorder.js'
import { WeftError } from '../native/errors.js'
import type { RunDirectory } from './run-directory.js'

/** So many of the newest events are written. */
const events = 16_384

export class FlightRecorder {
  readonly #fabric: Fabric
  #before: LogMode | undefined
  #taken: ArrayBuffer | undefined

  constructor(fabric: Fabric) {
    this.#fabric = fabric
  }

  /** Turns the log on where it is off. */
  start(): void {
    if (this.#fabric.logMode !== 'off') return
    this.#before = 'off'
    this.#fabric.logMode = 'basic'
  }

  /** Keeps the state of now, the first time that it is called. */
  take(): void {
    try {
      this.#taken ??= this.#fabric.snapshot({ limit: events }).bytes
    } catch {
      // A device that is gone must not hide why the run failed.
    }
  }

  /**
   * Writes what was taken, or the state of now, to the run's folder, or to that of openFabric's flight recorder, and
   * names the file in `error`; the file, undefined when there is none.
   */
  async write(directory: RunDirectory | undefined, error: unknown): Promise<string | undefined> {
    this.take()
    if (this.#taken === undefined) return undefined
    const own = await directory?.flight(this.#taken).catch(() => undefined)
    if (own !== undefined) {
      if (error instanceof WeftError) error.flightRecord = own
      return own
    }
    const file = recordState(this.#taken)
    if (file !== undefined && error instanceof WeftError) nameRecord(error, file)
    return file
  }

  /** Puts the log back as it was. */
  close(): void {
    if (this.#before !== undefined) this.#fabric.logMode = this.#before
    this.#before = undefined
  }
}
