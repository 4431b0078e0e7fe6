// What a run gives at its end, out of what its ranks and its recorder told. The coordinator calls it.
import type { TrainResult } from './events.js'
import { lossScaleFields, type Precision } from './precision.js'
import type { Recorder } from './recorder.js'
import type { LoadReply } from './worker/protocol.js'

/** The parts of it. */
export interface ResultParts {
  task: Pick<LoadReply, 'unit' | 'tokensPerSample'>
  recorder: Recorder
  precision: Precision
  /** Of the replicas, by rank. */
  hashes: readonly string[]
  devices: string[]
  stopped: boolean
  run: string | undefined
}

/** Tokens a second, where samples are tokens or the task says how many of them a sample has. */
function tokenRate(samplesPerSecond: number, task: ResultParts['task']): number | undefined {
  const tokens = task.tokensPerSample ?? (task.unit === 'tokens' ? 1 : undefined)
  return tokens === undefined ? undefined : samplesPerSecond * tokens
}

/** The result. */
export function trainResult(parts: ResultParts): TrainResult {
  const { task, recorder, precision, hashes, devices, stopped, run } = parts
  const { seconds, samplesPerSecond, communicationShare } = recorder.meter.totals()
  const hash = hashes[0]!
  return {
    steps: recorder.steps,
    loss: recorder.losses.at(-1) ?? Number.NaN,
    metrics: recorder.metrics,
    unit: task.unit,
    samplesPerSecond,
    tokensPerSecond: tokenRate(samplesPerSecond, task),
    communicationShare,
    precision,
    ...lossScaleFields(recorder.lossScale),
    replicasEqual: hashes.every((each) => each === hash),
    hash,
    losses: recorder.losses,
    trainSeconds: seconds,
    devices,
    stopped,
    run,
  }
}
