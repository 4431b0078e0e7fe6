// The task's own metrics of training steps: sums on the device over a message's steps, with the weights that the
// losses have. Kept in tensors of their own, so that a captured step adds to them too. The stepper calls it.
import { noGrad } from '../../autograd/no-grad.js'
import { UsageError } from '../../native/errors.js'
import { zeros } from '../../tensor/operators/factory.js'
import { disposeAll, keep } from '../../tensor/scope/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { describeValue } from './task-checks.js'

/** Metrics by name: one element each. */
export type StepMetrics = Record<string, Tensor | number>

/** Adds up what the task's loss gives beside the loss. */
export class TrainMetrics {
  readonly #device: string
  #sums: Map<string, Tensor> | undefined

  constructor(device: string) {
    this.#device = device
  }

  /** Adds a batch's metrics, times its share of the step. Enqueues. The first batch says which there are. */
  add(metrics: StepMetrics, weight: number): void {
    const names = Object.keys(metrics).sort()
    this.#sums ??= new Map(names.map((name) => [name, keep(zeros([], { device: this.#device }))]))
    if (names.join() !== [...this.#sums.keys()].join()) {
      throw new UsageError(
        `task.loss returned metrics ${names.join(', ') || 'none'}, before it was ` +
          `${[...this.#sums.keys()].join(', ') || 'none'}: they must be the same in every step`,
        { part: 'loss' },
      )
    }
    noGrad(() => {
      for (const [name, sum] of this.#sums!) {
        const value = metrics[name]
        if (value instanceof Tensor && value.numel === 1) {
          const own = value.to('f32').reshape([])
          sum.add_(weight === 1 ? own : own.mul(weight))
        } else if (typeof value === 'number') sum.add_(weight * value)
        else {
          throw new UsageError(
            `task.loss returned metric ${name}: ${describeValue(value)}; each must be a number or a tensor with one element`,
            { part: 'loss', entry: name },
          )
        }
      }
    })
  }

  /** The sums since the last call. WAITS for the device. */
  async take(): Promise<Record<string, number>> {
    const sums = [...(this.#sums ?? [])]
    const values = await Promise.all(sums.map(([, sum]) => sum.item()))
    noGrad(() => {
      for (const [, sum] of sums) sum.zero_()
    })
    return Object.fromEntries(sums.map(([name], i) => [name, values[i]!]))
  }

  dispose(): void {
    disposeAll([...(this.#sums?.values() ?? [])])
    this.#sums = undefined
  }
}
