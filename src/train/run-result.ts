// What a run gives at its end, out of what its ranks and its recorder told. The coordinator calls it.
import type { TrainResult } from './events.js'
import { lossScaleFields, type Precision } from './precision.js'
import type { Recorder } from './recorder.js'
import type { CollectReply, LoadReply } from './worker/protocol.js'

/** The parts of it. */
export interface ResultParts {
  task: Pick<LoadReply, 'unit' | 'tokensPerSample'>
  recorder: Recorder
  precision: Precision
  /** What the ranks told, in their order. */
  replies: readonly Pick<CollectReply, 'hash' | 'memory'>[]
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
  const { task, recorder, precision, replies, devices, stopped, run } = parts
  const { seconds, samplesPerSecond, communicationShare } = recorder.meter.totals()
  const { hash } = replies[0]!
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
    replicasEqual: replies.every((reply) => reply.hash === hash),
    hash,
    memory: replies.map(({ memory }) => memory),
    losses: recorder.losses,
    trainSeconds: seconds,
    devices,
    stopped,
    run,
  }
}
