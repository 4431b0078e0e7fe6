// Keeps a run's gemm-choices.json: written when products used new choices since the last look, so that a run
// that is killed leaves them too. The coordinator looks at every log line and at the end.
import type { GemmChoices } from '../fabric/gemm-choices.js'

/** Where the choices come from and go to. */
export interface ChoiceKeeperParts {
  used(): GemmChoices | undefined
  write(choices: GemmChoices): Promise<void>
}

/** Writes one file at a time, in order. */
export class ChoiceKeeper {
  readonly #parts: ChoiceKeeperParts
  #written = 0
  #writing: Promise<void> = Promise.resolve()

  constructor(parts: ChoiceKeeperParts) {
    this.#parts = parts
  }

  /** Writes the choices when there are new ones; a failure shows in close(). */
  look(): void {
    const choices = this.#parts.used()
    const count = choices?.gpus.reduce((sum, gpu) => sum + gpu.choices.length, 0) ?? 0
    if (choices === undefined || count === this.#written) return
    this.#written = count
    this.#writing = this.#writing.then(() => this.#parts.write(choices))
    // close() hands the failure on; until then it is not unheard.
    this.#writing.catch(() => {})
  }

  /** Looks a last time; rejects when a file could not be written. */
  async close(): Promise<void> {
    this.look()
    await this.#writing
  }
}
