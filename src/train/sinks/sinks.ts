// Where a run's figures go besides metrics.jsonl. The coordinator hands each of its events to Sinks; a sink that fails
// is told once and left out, and the run goes on. What a sink lacks to begin is known before the devices open.
import type { TrainEvent } from '../events.js'
import { MlflowSink, withServer } from './mlflow.js'
import { loadPromClient, PrometheusSink } from './prometheus.js'
import type { RunEnd, Sink, SinkRun } from './sink.js'
import type { SinkSettings } from './sink-options.js'
import { TensorBoardSink } from './tensorboard.js'

type Opener = (run: SinkRun) => Sink

/** Checks what a sink needs, and loads it. Throws UsageError that says what is missing. */
async function prepare(settings: SinkSettings): Promise<Opener> {
  if (settings.kind === 'tensorboard') return ({ folder }) => new TensorBoardSink(folder!)
  if (settings.kind === 'mlflow') {
    const checked = withServer(settings)
    return (run) => new MlflowSink(checked, run)
  }
  const client = await loadPromClient()
  return (run) => new PrometheusSink(client, settings, run)
}

/** A sink and its name. */
interface Named<T> {
  name: string
  value: T
}

/** The sinks of one run. */
export class Sinks {
  readonly #prepared: Named<Opener>[]
  readonly #tell: (line: string) => void
  #open: Named<Sink>[] = []
  #failed = new Set<string>()

  private constructor(prepared: Named<Opener>[], tell: (line: string) => void) {
    this.#prepared = prepared
    this.#tell = tell
  }

  /** Sinks that can be opened; `tell` shows a line. Throws UsageError where a sink lacks what it needs. */
  static async prepare(settings: readonly SinkSettings[], tell: (line: string) => void) {
    const distinct = [...new Map(settings.map((each) => [JSON.stringify(each), each])).values()]
    const prepared: Named<Opener>[] = []
    for (const [i, each] of distinct.entries()) {
      const more = distinct.some((other, j) => j < i && other.kind === each.kind)
      const name = more ? `${each.kind} (${i + 1})` : each.kind
      prepared.push({ name, value: await prepare(each) })
    }
    return new Sinks(prepared, tell)
  }

  /** Opens all, for events from now on. */
  open(run: Omit<SinkRun, 'fail' | 'tell'>): void {
    for (const { name, value: open } of this.#prepared) {
      const fail = (error: Error) => this.#fail(name, error)
      try {
        const sink = open({ ...run, fail, tell: this.#tell })
        if (this.#failed.has(name)) sink.release()
        else this.#open.push({ name, value: sink })
      } catch (error) {
        fail(error as Error)
      }
    }
  }

  /** Hands an event on. Does not wait. */
  take(event: TrainEvent): void {
    for (const { name, value: sink } of [...this.#open]) {
      try {
        sink.take(event)
      } catch (error) {
        this.#fail(name, error as Error)
      }
    }
  }

  /** Lets all send what they hold, and closes them; for so long as the slowest may take. May be called again. */
  async close(end: RunEnd): Promise<void> {
    const closing = this.#open
    await Promise.all(
      closing.map(async ({ name, value: sink }) => {
        try {
          await sink.close(end)
        } catch (error) {
          this.#fail(name, error as Error)
        }
      }),
    )
    this.#open = []
  }

  /** Leaves a sink out, and says so the first time. */
  #fail(name: string, error: Error): void {
    const failed = this.#open.find((each) => each.name === name)
    this.#open = this.#open.filter((each) => each !== failed)
    failed?.value.release()
    if (this.#failed.has(name)) return
    this.#failed.add(name)
    this.#tell(`sink ${name} failed and is left out: ${error.message}`)
  }
}
