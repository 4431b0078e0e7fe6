// A workload of the training benchmarks as a task: every step of every rank trains on one batch that lies on its
// device already, as the peer's benchmark does it. `weft bench scaling bench/training/tasks/*.ts` runs them.
import { defaultDevice, defineTask } from 'weft'
import { fixedBatch, workload } from './workloads.js'

/** More than any run takes. */
const batchesAnEpoch = 2 ** 30

export function fixedTask(name: string) {
  const work = workload(name)
  return defineTask({
    name,
    unit: work.input.length > 1 ? 'images' : 'sequences',
    ...(work.target.length === 1 ? { tokensPerSample: work.target[0]! } : {}),
    defaults: { batchSize: work.batch, ...(work.clip > 0 ? { clipNorm: work.clip } : {}) },
    model: work.model,
    data: ({ batchSize }) => {
      const { x, y } = fixedBatch(work, { batch: batchSize, device: defaultDevice() })
      return {
        length: batchesAnEpoch,
        *[Symbol.iterator]() {
          // Views: the trainer frees what it is given, the batch stays.
          for (let b = 0; b < batchesAnEpoch; b++) {
            yield { x: x.reshape(x.shape), y: y.reshape(y.shape) }
          }
        },
      }
    },
    loss: (model, { x, y }) => model.loss(x, y),
    optimizer: work.optimizer,
  })
}
