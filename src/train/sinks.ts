// Where a run's figures go besides metrics.jsonl. The coordinator hands each of its events to Sinks, which opens the
// sinks with the run's folder; one that fails is told once and left out, and the run goes on.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { EventFile } from '../metrics/sinks/event-file.js'
import type { TrainEvent } from './events.js'

/** The sinks that a Trainer's options may name. */
export const sinkNames = ['tensorboard'] as const
export type SinkName = (typeof sinkNames)[number]

/** Takes events of a run until it is closed; what it throws ends it. */
interface Sink {
  take(event: TrainEvent): void
  close(): void
}

/** TensorBoard's event files, in the folder `tensorboard` of the run's. */
class TensorBoardSink implements Sink {
  readonly #file: EventFile
  /** Does the folder hold figures of an attempt that this one replaces from its start? */
  #replaces: boolean

  constructor(run: string) {
    const folder = join(run, 'tensorboard')
    this.#replaces = existsSync(folder)
    this.#file = new EventFile(folder)
  }

  take(event: TrainEvent): void {
    if (event.kind === 'resumed') this.#restart(event.step + 1)
    else if (event.kind === 'evaluation') this.#scalars(event.step, 'held-out', event.metrics)
    else if (event.kind === 'log') {
      const { kind: _, step, totalSteps: __, timeMs: ___, etaSeconds: ____, ...figures } = event
      const { metrics = {}, ...own } = figures
      this.#scalars(step, 'train', { ...own, ...metrics })
    }
  }

  close(): void {
    this.#file.close()
  }

  #restart(step: number): void {
    this.#file.restart(step)
    this.#replaces = false
  }

  #scalars(step: number, group: string, figures: Record<string, number | undefined>): void {
    if (this.#replaces) this.#restart(1) // it had no checkpoint yet
    const known = Object.entries(figures).flatMap(([name, value]) =>
      value === undefined ? [] : [[`${group}/${name}`, value] as const],
    )
    this.#file.scalars(step, Object.fromEntries(known))
  }
}

const makers: Record<SinkName, (run: string) => Sink> = {
  tensorboard: (run) => new TensorBoardSink(run),
}

/** The sinks of one run. */
export class Sinks {
  readonly #names: readonly SinkName[]
  readonly #open = new Map<SinkName, Sink>()

  constructor(names: readonly SinkName[]) {
    this.#names = [...new Set(names)]
  }

  /** Hands an event on; gives a line for each sink that failed by it and is left out from now on. */
  take(event: TrainEvent): string[] {
    if (event.kind === 'start') {
      const { run } = event
      if (run === undefined) return []
      return this.#names.flatMap((name) =>
        this.#try(name, () => this.#open.set(name, makers[name](run))),
      )
    }
    return [...this.#open].flatMap(([name, sink]) => this.#try(name, () => sink.take(event)))
  }

  /** Closes all; may be called again. */
  close(): void {
    for (const [name, sink] of this.#open) this.#try(name, () => sink.close())
    this.#open.clear()
  }

  #try(name: SinkName, action: () => void): string[] {
    try {
      action()
      return []
    } catch (error) {
      this.#open.delete(name)
      return [`sink ${name} failed and is left out: ${(error as Error).message}`]
    }
  }
}
