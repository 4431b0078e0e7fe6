// A window of steps whose event log has device times: `profile: { from, to }`. Opens before step `from`, closes behind
// step `to`, and leaves a Perfetto trace and the snapshot that it is made of in the run's folder. The coordinator makes
// one for a run that asks, Training tells it where the steps are.
import { join } from 'node:path'
import type * as Zod from 'zod'
import { writeAtomically } from '../checkpoint/atomic-write.js'
import type { Fabric, LogMode } from '../fabric/fabric.js'
import { perfettoTrace } from '../inspect/perfetto.js'

/** What the event log keeps at most. */
const mostEvents = 65_536

/** Which steps are profiled, both among them. */
export interface ProfileOptions {
  from: number
  to: number
}

/** The key that Trainer options have for this. */
export function profileSchema({ z }: typeof Zod) {
  const step = z.int().positive()
  const window = z.strictObject({ from: step, to: step })
  return {
    profile: window
      .refine(({ from, to }) => from <= to, { message: 'from must not be behind to' })
      .optional(),
  }
}

/** The window of one run. Between chunks of steps no rank works, so what the log holds then is whole steps. */
export class ProfileWindow {
  readonly #fabric: Fabric
  readonly #folder: string
  readonly #options: ProfileOptions
  readonly #tell: (line: string) => void
  #state: 'ahead' | 'open' | 'over' = 'ahead'
  #since = 0
  #first = 0
  #before: LogMode = 'off'

  private constructor(
    fabric: Fabric,
    folder: string,
    options: ProfileOptions,
    tell: (line: string) => void,
  ) {
    this.#fabric = fabric
    this.#folder = folder
    this.#options = options
    this.#tell = tell
  }

  /** The window that `options` ask for; undefined where they ask for none. `tell` shows a line. */
  static of(
    fabric: Fabric,
    folder: string | undefined,
    options: ProfileOptions | undefined,
    tell: (line: string) => void,
  ): ProfileWindow | undefined {
    if (folder === undefined || options === undefined) return undefined
    return new ProfileWindow(fabric, folder, options, tell)
  }

  /** Steps that a chunk behind step `done` may have, so that it ends where the window does. */
  most(done: number): number {
    const { from, to } = this.#options
    if (this.#state === 'over' || done >= to) return Number.POSITIVE_INFINITY
    return done < from - 1 ? from - 1 - done : to - done
  }

  /** A chunk behind step `done` is about to begin. */
  before(done: number): void {
    const { from, to } = this.#options
    if (this.#state !== 'ahead' || done < from - 1) return
    if (done >= to) {
      this.#state = 'over'
      this.#tell(
        `profile   left out: the run goes on behind step ${done}, steps ${from} to ${to} are done`,
      )
      return
    }
    this.#state = 'open'
    this.#first = done + 1
    this.#before = this.#fabric.logMode
    this.#since = this.#fabric.snapshot({ limit: 1 }).nextSequence
    this.#fabric.logMode = 'timing'
  }

  /** A chunk has ended behind step `done`; with `last` no other comes. Writes the files where the window ends. */
  async after(done: number, last = false): Promise<void> {
    if (this.#state !== 'open' || (done < this.#options.to && !last)) return
    const snapshot = this.#fabric.snapshot({ since: this.#since, limit: mostEvents })
    this.close()
    if (done < this.#first) return this.#tell('profile   left out: no step of it was taken')
    const name = join(this.#folder, `profile-${this.#first}-${done}`)
    await writeAtomically(`${name}.bin`, [new Uint8Array(snapshot.bytes)])
    await writeAtomically(`${name}.pftrace`, [perfettoTrace(snapshot)])
    const lost = snapshot.dropped + snapshot.skipped
    this.#tell(
      `profile   steps ${this.#first} to ${done}: ${name}.pftrace for ui.perfetto.dev, ${name}.bin for weft inspect` +
        (lost === 0 ? '' : `; the first ${lost} records were overwritten: fewer steps hold all`),
    )
  }

  /** The run is over. */
  end(): void {
    if (this.#state !== 'ahead') return
    this.#tell(`profile   left out: the run ended before step ${this.#options.from}`)
  }

  /** Puts the log back as it was. May be called again. */
  close(): void {
    if (this.#state === 'open') this.#fabric.logMode = this.#before
    this.#state = 'over'
  }
}
