// What a run tells while it goes on: typed events, in order, to the one listener that TrainerOptions
// names. The CLI shows them; tests count them. Nothing in the library prints.
import type { NativeDevice } from '../native/types.js'
import type { DeviceUse } from './memory-use.js'
import type { Precision } from './precision.js'

/** How a run stands after a chunk of steps. */
export interface ProgressReport {
  step: number
  totalSteps: number | undefined
  /** Mean over ranks and over the steps since the last report of the same kind. */
  loss: number
  samplesPerSecond: number
  /** Share of the time that ranks waited for communication, 0 … 1. */
  communicationShare: number
  etaSeconds: number | undefined
  lr: number | undefined
  /** The task's metrics of training steps, means over ranks and over the same steps as `loss`; where it has any. */
  metrics?: Metrics
  /** Norm of the averaged gradients of the last step, before clipping, where it is measured. */
  gradNorm?: number
  /** Of an f16 run: the loss scale. */
  lossScale?: number
  /** Of an f16 run, or one with `nonFinite: 'skip'`: steps left out so far because gradients were not finite. */
  skippedSteps?: number
}

/** Metrics of an evaluation, over all ranks. */
export type Metrics = Record<string, number>

/** Events of a run. */
export type TrainEvent =
  | {
      kind: 'start'
      task: string
      /** What a sample is, in the plural: 'images'. */
      unit: string
      /** Where the task says that a sample is text. */
      tokensPerSample: number | undefined
      devices: readonly Pick<NativeDevice, 'name' | 'driver' | 'model' | 'totalBytes'>[]
      parameters: number
      parameterTensors: number
      batchSize: number
      accumulate: number
      totalSteps: number | undefined
      /** Where the run is written; undefined when it is not. */
      run: string | undefined
    }
  /** After every chunk of steps, a few times a second: for a bar. */
  | ({ kind: 'progress' } & ProgressReport)
  /** Every `logEvery` steps: for lines and files. */
  | ({ kind: 'log'; timeMs: number } & ProgressReport)
  | { kind: 'evaluation'; step: number; metrics: Metrics; seconds: number }
  /** The run goes on from a checkpoint. */
  | { kind: 'resumed'; step: number; path: string }
  /** A checkpoint is whole: what a kill from now on cannot take away. */
  | {
      kind: 'checkpoint'
      step: number
      path: string
      bytes: number
      seconds: number
      best: boolean
    }
  /** A worker failed; the run starts again from its last checkpoint. */
  | { kind: 'restart'; restart: number; restarts: number; reason: string }
  /** A stop was asked for and has happened. */
  | { kind: 'stopped'; step: number }
  /** A line about how the run goes, such as whether its step was captured. */
  | { kind: 'note'; step: number; line: string }
  /** A line that the task's finish() prints. */
  | { kind: 'print'; line: string }

/** What Trainer.fit() resolves to. */
export interface TrainResult {
  /** Steps done, those before a resume among them. */
  steps: number
  /** Loss of the last step, mean over ranks. */
  loss: number
  /** Of the last evaluation; empty when the task does not evaluate. */
  metrics: Metrics
  /** What a sample is, in the plural, as the task says: 'images'; else 'samples'. */
  unit: string
  samplesPerSecond: number
  /** Where the task says how many tokens a sample has, or that samples are tokens. */
  tokensPerSecond: number | undefined
  communicationShare: number
  /** What the run computed in. */
  precision: Precision
  /** Of an f16 run: the loss scale after the last step. */
  lossScale?: number
  /** Of an f16 run, or one with `nonFinite: 'skip'`: steps left out because gradients were not finite; they count in `steps`. */
  skippedSteps?: number
  /** Do all ranks hold the same bits in every parameter and buffer? */
  replicasEqual: boolean
  /** SHA-256 of rank 0's parameters and buffers. */
  hash: string
  /** What the run kept on each rank's device. */
  memory: DeviceUse[]
  /** Loss of each step that this fit() took, mean over ranks: those before a resume are not among them. */
  losses: number[]
  /** Seconds spent in steps. */
  trainSeconds: number
  devices: string[]
  /** Was the run stopped before its end? */
  stopped: boolean
  /** Where the run was written; undefined when it was not. */
  run: string | undefined
}
