// Held-out evaluation on one rank: runs the task's evaluate over this rank's share and adds its sums
// up. There is no collective in it, so ranks may have different numbers of batches.
import { noGrad } from '../../autograd/no-grad.js'
import { scope } from '../../tensor/scope/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { BatchSource, HostBatch, Task } from '../task.js'
import { disposeBatch, readerOf, toDevice } from './batches.js'
import type { MixedPrecision } from './mixed-precision.js'
import { inTask } from './task-call.js'
import { requireBatch, requireMetrics } from './task-checks.js'

/** What an evaluation works with. */
export interface EvaluationParts {
  task: Task
  model: Parameters<Task['loss']>[0]
  device: string
  precision: MixedPrecision
  /** Called after each batch. */
  beat: () => void
}

/** Sums of the task's metrics, `count` among them, over all batches of `source`. */
export async function evaluate(
  parts: EvaluationParts,
  source: BatchSource,
): Promise<Record<string, number>> {
  const { model } = parts
  const sums: Record<string, number> = {}
  const reader = readerOf(source)
  model.eval()
  try {
    const read = () => inTask('task.data', () => reader.next())
    for (let next = await read(); !next.done; next = await read()) {
      requireBatch(next.value)
      for (const [name, value] of await evaluateBatch(parts, next.value)) {
        sums[name] = (sums[name] ?? 0) + value
      }
      parts.beat()
    }
  } finally {
    model.train()
  }
  return sums
}

async function evaluateBatch(
  { task, model, device, precision }: EvaluationParts,
  batch: HostBatch,
): Promise<[string, number][]> {
  const metrics = scope(() =>
    noGrad(() => {
      const moved = toDevice(batch, device)
      const run = () => precision.forward(() => task.evaluate?.(model, moved))
      return requireMetrics(inTask('task.evaluate', run))
    }),
  )
  disposeBatch(batch)
  return Promise.all(
    Object.entries(metrics).map(async ([name, value]): Promise<[string, number]> => {
      if (!(value instanceof Tensor)) return [name, value]
      const number = await value.item()
      value.dispose()
      return [name, number]
    }),
  )
}
