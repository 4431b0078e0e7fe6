// Follows the event log: an async iterable over events as they are written. Fabric.events() makes one.
//
// Nothing signals a reader (writers of the log never wait or wake anybody), so the stream looks: at once
// while there is more, else every few ms. It holds one batch of records and decodes the kinds that were
// asked for. While nobody iterates, nothing runs. The log keeps 65,536 records: none is lost as long as
// fewer than that are written between two looks, and the event loop is not blocked for longer; what was
// overwritten before it was read is counted in `dropped`. The timer does not keep the process alive.
import { native, words } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import type { EventKind } from './event-kinds.js'
import { eventKinds } from './event-kinds.js'
import { decodeEvent, eventBytes, type SnapshotEvent } from './event-record.js'
import { operatorNames } from './plugins.js'
import { tagName } from './tag.js'

const batch = 8192
const pauseMs = 5

/** What Fabric.events() may be told. */
export interface EventOptions {
  /** Only these kinds; all when left out. */
  kinds?: readonly EventKind[]
  /** First sequence; default: what is written from now on. */
  since?: number
}

/** Events in the order of their sequence. Ends when the fabric closes, or the loop is left. */
export class EventStream implements AsyncIterable<SnapshotEvent> {
  readonly #kinds: Set<number>
  #since: number
  #dropped = 0
  #closed = false
  #wake: (() => void) | undefined

  /** @internal */
  constructor(options: EventOptions) {
    const kinds = options.kinds ?? eventKinds
    const unknown = kinds.find((kind) => !eventKinds.includes(kind))
    if (unknown !== undefined) {
      throw new UsageError(`event kind ${JSON.stringify(unknown)}: use ${eventKinds.join(', ')}`)
    }
    if (native.logMode() === 0) {
      throw new UsageError(
        "the event log is off, so no event would come: set fabric.logMode = 'basic' before events()",
      )
    }
    this.#kinds = new Set(kinds.map((kind) => eventKinds.indexOf(kind)))
    this.#since = options.since ?? 0
    if (this.#since === 0) this.#read(new ArrayBuffer(0))
  }

  /** Events that were overwritten before they were read. */
  get dropped(): number {
    return this.#dropped
  }

  /** Ends the loop over it. */
  close(): void {
    this.#closed = true
    this.#wake?.()
  }

  /** Events as they are written, until close(); `for await` takes it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<SnapshotEvent, void, undefined> {
    const room = new ArrayBuffer(batch * eventBytes)
    const view = new DataView(room)
    while (!this.#closed) {
      const count = this.#read(room)
      const added = count === 0 ? undefined : operatorNames()
      for (let i = 0; i < count && !this.#closed; i++) {
        const at = i * eventBytes
        if (!this.#kinds.has(view.getUint16(at + 40, true))) continue
        yield decodeEvent(view, at, tagName, added)
      }
      await this.#pause(count === batch ? 0 : pauseMs)
    }
  }

  #read(room: ArrayBuffer): number {
    native.followEvents(this.#since, room)
    const [count, next, dropped] = words as unknown as [number, number, number]
    this.#since = next
    this.#dropped += dropped
    return count
  }

  /** Lets the event loop turn. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve()
      this.#wake = resolve
      if (ms === 0) setImmediate(resolve)
      else setTimeout(resolve, ms).unref()
    })
  }
}
