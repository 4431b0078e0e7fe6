// TensorBoard's event files as a sink: in the folder `tensorboard` of the run's, written as it goes. sinks.ts opens it.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { EventFile } from '../../metrics/sinks/event-file.js'
import type { TrainEvent } from '../events.js'
import { figuresOf, type Sink } from './sink.js'

/** Scalars of the run's log lines and evaluations. */
export class TensorBoardSink implements Sink {
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
      const { step, own, metrics } = figuresOf(event)
      this.#scalars(step, 'train', { ...own, ...metrics })
    }
  }

  close(): void {
    this.#file.close()
  }

  release(): void {
    this.#file.close()
  }

  #restart(step: number): void {
    this.#file.restart(step)
    this.#replaces = false
  }

  #scalars(step: number, group: string, figures: Record<string, number>): void {
    if (this.#replaces) this.#restart(1) // it had no checkpoint yet
    const tagged = Object.entries(figures).map(([name, value]) => [`${group}/${name}`, value])
    this.#file.scalars(step, Object.fromEntries(tagged))
  }
}
