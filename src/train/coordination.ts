// What a training step costs beside its computation: the time of a step of a task that computes next
// to nothing, over several workers. bench/calls.ts reports it; empty-task.ts is the task.
import { Trainer } from './trainer.js'

/** Time a step, as {@link measureCoordination} saw it. */
export interface CoordinationCost {
  /** Microseconds a step: the median over chunks of steps after the warm-up. */
  stepUs: number
  workers: number
  steps: number
}

/** Steps before the measurement: buckets take their final order, threads warm up. */
const warmUpSteps = 200

/** Trains the empty task for `steps` steps over `workers` host devices, and times a step. */
export async function measureCoordination(steps = 2000, workers = 4): Promise<CoordinationCost> {
  const chunks: number[] = []
  let step = 0
  let time = performance.now()
  const trainer = new Trainer({
    task: new URL('./empty-task.js', import.meta.url),
    devices: `host:0-${workers - 1}`,
    steps: steps + warmUpSteps,
    batchSize: 1,
    logEvery: warmUpSteps,
    run: false,
    onEvent: (event) => {
      if (event.kind !== 'log') return
      const now = performance.now()
      if (step > 0) chunks.push(((now - time) * 1000) / (event.step - step))
      step = event.step
      time = now
    },
  })
  await trainer.fit()
  chunks.sort((a, b) => a - b)
  return { stepUs: chunks[Math.floor(chunks.length / 2)] ?? Number.NaN, workers, steps }
}
