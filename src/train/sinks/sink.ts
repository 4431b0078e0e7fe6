// What a sink is to the run: sinks.ts opens those that the options name and hands each event on; tensorboard.ts,
// prometheus.ts and mlflow.ts are such.
import type { DeviceMemory } from '../../fabric/memory-fields.js'
import type { TrainEvent } from '../events.js'

/** How a run ended. */
export type RunEnd = 'finished' | 'stopped' | 'failed'

/** What a sink is told of the run when it opens. */
export interface SinkRun {
  /** Name of the run: that of its folder, else the task's. */
  name: string
  task: string
  /** The run's folder; undefined where nothing is written. */
  folder: string | undefined
  /** Settings of the run, for those that list them. */
  settings: Readonly<Record<string, string | number | boolean>>
  /** Times that this run began again after a worker failed. */
  restarts: number
  /** Memory of each device now. Does not wait. */
  memory: () => ({ name: string } & DeviceMemory)[]
  /** Ends the sink, with its reason: for what fails outside take(). May be called again. */
  fail: (error: Error) => void
  /** Shows the user a line. */
  tell: (line: string) => void
}

/** Takes events of a run until it is closed; what it throws ends it. */
export interface Sink {
  /** Does not wait. */
  take(event: TrainEvent): void
  /** Sends what it holds and closes. Its wait is bounded. */
  close(end: RunEnd): void | Promise<void>
  /** Lets go of files, ports and requests at once: the sink failed. */
  release(): void
}

/** The figures of a log line or a progress report by name, those of the task apart. */
export function figuresOf(event: Extract<TrainEvent, { kind: 'log' | 'progress' }>) {
  const { kind: _, step, totalSteps: __, etaSeconds: ___, metrics = {}, ...rest } = event
  const { timeMs: ____, ...own } = rest as typeof rest & { timeMs?: number }
  return { step, own: known(own), metrics: known(metrics) }
}

function known(figures: Readonly<Record<string, number | undefined>>): Record<string, number> {
  const entries = Object.entries(figures)
  return Object.fromEntries(
    entries.filter((entry): entry is [string, number] => entry[1] !== undefined),
  )
}
