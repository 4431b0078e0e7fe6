// The public Trainer: options in, one run, a result out. It owns no run state of its own: fit() makes
// a coordinator and stop() and abort() reach it.
import { UsageError, WorkerError } from '../native/errors.js'
import type { Coordinator } from './coordinator.js'
import type { TrainResult } from './events.js'
import { type CheckedOptions, checkOptions, type TrainerOptions } from './options.js'
import { mayRestart, nextAttempt } from './restarts.js'
import type { Stoppable } from './stop.js'

/**
 * Trains a task data-parallel, one replica and one worker thread a device.
 *
 * ```ts
 * const trainer = new Trainer({ task: new URL('./task.js', import.meta.url), steps: 500 })
 * const { loss, metrics } = await trainer.fit()
 * ```
 */
export class Trainer implements Stoppable {
  readonly options: Readonly<CheckedOptions>
  #coordinator: Coordinator | undefined
  #running = false
  #stopped = false
  #aborted: WorkerError | undefined

  /** Checks the options; throws UsageError naming each wrong one. */
  constructor(options: TrainerOptions) {
    this.options = checkOptions(options)
  }

  /**
   * Runs the task to its end; with `restarts`, over workers that fail. Rejects with the named error of whatever went wrong on any rank; all
   * workers have ended then, and no file is half-written.
   */
  async fit(): Promise<TrainResult> {
    if (this.#running) throw new UsageError('this trainer is already running')
    this.#running = true
    try {
      // Loaded here: workers import weft too, and need none of this.
      const { Coordinator } = await import('./coordinator.js')
      const { restarts, onEvent } = this.options
      let options = this.options
      for (let restart = 1; ; restart++) {
        const coordinator = new Coordinator(options, restart - 1)
        this.#coordinator = coordinator
        if (this.#stopped) coordinator.stop()
        if (this.#aborted) coordinator.abort(this.#aborted)
        try {
          return await coordinator.run()
        } catch (error) {
          const ended = this.#stopped || this.#aborted !== undefined
          if (restart > restarts || ended || !mayRestart(error)) throw error
          onEvent?.({ kind: 'restart', restart, restarts, reason: error.message })
          options = nextAttempt(options, coordinator.runFolder)
        }
      }
    } finally {
      this.#coordinator = undefined
      this.#running = false
      this.#stopped = false
      this.#aborted = undefined
    }
  }

  /**
   * Asks all ranks to stop after the step in progress; none begins afterwards. fit() then resolves with
   * `stopped: true`. Outside a run there is nothing to stop.
   */
  stop(): void {
    if (!this.#running) return
    this.#stopped = true
    this.#coordinator?.stop()
  }

  /** Ends the run now; fit() rejects with WorkerError. Outside a run there is nothing to end. */
  abort(reason = 'aborted'): void {
    if (!this.#running) return
    this.#aborted ??= new WorkerError(`the run was aborted: ${reason}`, { aborted: true })
    this.#coordinator?.abort(this.#aborted)
  }
}
