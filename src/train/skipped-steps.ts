// What Training does about steps whose loss or gradients are not finite, by the policy `nonFinite`: an error at the
// first, a line for those that the ranks left out and an error where too many follow each other, or nothing.
import { NonFiniteLossError } from '../native/errors.js'
import type { NonFinite } from './loop-options.js'

/** The part of a rank's reply that this looks at. */
interface StepFigures {
  losses: number[]
  /** Which steps were left out on the device; undefined where the policy is another. */
  skipped: boolean[] | undefined
}

/** Looks at each chunk of steps. */
export class NonFiniteWatch {
  readonly #policy: NonFinite
  readonly #most: number
  readonly #tell: (line: string) => void
  #inARow = 0

  /** `most`: so many steps left out in a row end the run; `tell` shows a line. */
  constructor(policy: NonFinite, most: number, tell: (line: string) => void) {
    this.#policy = policy
    this.#most = most
    this.#tell = tell
  }

  /** Steps from number `from` on, by rank. Throws NonFiniteLossError. */
  look(from: number, ranks: readonly StepFigures[]): void {
    if (this.#policy === 'error') {
      requireFinite(
        from,
        ranks.map((rank) => rank.losses),
      )
    }
    // Gradients are averaged over the ranks: all of them left the same steps out.
    const skipped = ranks[0]!.skipped ?? []
    const left = skipped.flatMap((skip, i) => (skip ? [from + i] : []))
    if (left.length > 0) this.#tell(`left out  ${steps(left)}: gradients that are not finite`)
    for (const [i, skip] of skipped.entries()) {
      this.#inARow = skip ? this.#inARow + 1 : 0
      if (this.#inARow < this.#most) continue
      const step = from + i
      throw new NonFiniteLossError(
        `gradients were not finite in ${this.#most} steps in a row, the last one step ${step}: see maxSkippedInARow`,
        { step, inARow: this.#inARow, losses: ranks.map((rank) => String(rank.losses[i])) },
      )
    }
  }
}

const steps = (list: number[]) =>
  list.length === 1
    ? `step ${list[0]}`
    : `steps ${list.slice(0, 8).join(', ')}${list.length > 8 ? ` and ${list.length - 8} more` : ''}`

/** Throws NonFiniteLossError naming the first step with a NaN or infinite loss, and its ranks. */
function requireFinite(from: number, perRank: number[][]): void {
  for (let i = 0; i < perRank[0]!.length; i++) {
    const losses = perRank.map((values) => values[i]!)
    const ranks = losses.flatMap((loss, rank) => (Number.isFinite(loss) ? [] : [rank]))
    if (ranks.length === 0) continue
    const step = from + i
    const values = ranks.map((rank) => `${losses[rank]} on rank ${rank}`)
    throw new NonFiniteLossError(`the loss is not finite at step ${step}: ${values.join(', ')}`, {
      step,
      rank: ranks[0],
      ranks,
      // As text: neither JSON nor every reader of it knows NaN.
      losses: losses.map(String),
    })
  }
}
