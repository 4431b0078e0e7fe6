// What coordinator and workers say to each other: messages, replies and the votes of a step. Both sides
// import it; it holds no state. The words that they share are in control.ts, errors in error-record.ts.
import type { Manifest } from '../../checkpoint/manifest.js'
import type { SafetensorsEntry } from '../../checkpoint/safetensors.js'
import type { GroupPlace } from '../../fabric/reducer.js'
import type { UnusedParameters } from '../loop-options.js'
import type { DeviceUse } from '../memory-use.js'
import type { LossScale, Precision } from '../precision.js'
import type { SharedArrays, TaskDefaults } from '../task.js'
import type { ErrorRecord } from './error-record.js'

/** A parameter or buffer as ranks compare it before the first step. */
export interface StateEntry {
  name: string
  shape: number[]
  dtype: string
  /** Takes no gradient. */
  frozen: boolean
}

/** Loads the task and builds the replica. */
export interface LoadMessage {
  kind: 'load'
  /** Importable file URL of the task (already bundled when it was TypeScript). */
  module: string
  /** What the user asked for, for error messages. */
  source: string
  device: string
  rank: number
  world: number
  /** The user's; the task's default holds when there is none. */
  seed: number | undefined
  control: SharedArrayBuffer
  /** Make the data on a thread of its own. */
  dataThread: boolean
}

/** Copies rank 0's weights, makes the reducer, the optimizer and the first batches. */
export interface BeginMessage {
  kind: 'begin'
  group: number
  batchSize: number
  accumulate: number
  clipNorm: number | undefined
  gradNorm: boolean
  unusedParameters: UnusedParameters
  /** Leave steps out whose gradients are not finite. */
  skipNonFinite: boolean
  precision: Precision
  lr: number | undefined
  bucketBytes: number
  timeoutMs: number
  /** What rank 0's task shares. */
  shared: SharedArrays
  /** Capture the step and replay it. */
  graph: boolean
  steps: number | undefined
  epochs: number | undefined
  /** Checkpoints will be asked for. */
  checkpoints: boolean
  resume: ResumeState | undefined
  /** Where this rank keeps its share of gradients and optimizer state; undefined: it keeps all. */
  sharding: RankSharding | undefined
}

/** A rank's place in a mesh. */
export interface RankSharding {
  shards: GroupPlace
  /** Undefined where every rank has another share. */
  replicas: GroupPlace | undefined
}

/** What a rank takes over from a checkpoint. */
export interface ResumeState {
  /** Of the checkpoint. */
  folder: string
  /** Steps done. */
  step: number
  /** Where to go on in the data. */
  data: Pick<DataPosition, 'epoch' | 'batches'>
  /** Of this rank; undefined where the checkpoint has none for it, being of another number of ranks. */
  random: RandomState | undefined
  optimizer: OptimizerRecord
  gradientOrder: number[] | null
}

/** A generator's state, as text: it is 64 bits wide. */
export interface RandomState {
  seed: string
  offset: string
}

/** An optimizer's state without its tensors, with the names of its parameters. */
export interface OptimizerRecord {
  kind: string
  steps: number
  counts: Record<string, number>
  groups: string[][]
}

/** Takes a snapshot between two steps; rank 0 begins to write its tensors to `folder`. */
export interface CheckpointMessage extends CheckpointRequest {
  kind: 'checkpoint'
}

/** Where a checkpoint goes, and what its files say of themselves. */
export interface CheckpointRequest {
  folder: string
  metadata: Record<string, string>
  /** May rank 0 read the tensors themselves where the device has no memory for copies, with all ranks waiting? */
  mayWait: boolean
}

/** Waits until the snapshot that is being written, if any, has been. */
export interface SettleMessage {
  kind: 'settle'
}

/** Trains steps `from` … `from + count - 1`, counted from 1. */
export interface RunMessage {
  kind: 'run'
  from: number
  count: number
  /** The run ends where this epoch ends, when epochs bound it. */
  epochs: number | undefined
  /** A checkpoint to take behind this one of the steps, unless the run ends with it. */
  checkpoint: (CheckpointRequest & { step: number }) | undefined
}

/** Sums the task's metrics over this rank's share of the held-out data. */
export interface EvaluateMessage {
  kind: 'evaluate'
  batchSize: number
}

/** Hashes, and on rank 0 hands over, the final parameters. */
export interface CollectMessage {
  kind: 'collect'
  weights: boolean
}

/** Runs the task's own ending (rank 0 only). */
export interface FinishMessage {
  kind: 'finish'
}

/** Frees everything the worker holds on its device. */
export interface CloseMessage {
  kind: 'close'
}

/** Messages by kind. */
export interface Messages {
  load: LoadMessage
  begin: BeginMessage
  run: RunMessage
  checkpoint: CheckpointMessage
  settle: SettleMessage
  evaluate: EvaluateMessage
  collect: CollectMessage
  finish: FinishMessage
  close: CloseMessage
}

/** What the coordinator can ask for. */
export type MessageKind = keyof Messages
export type WorkerMessage = Messages[MessageKind]

export interface LoadReply {
  task: string
  unit: string
  tokensPerSample: number | undefined
  defaults: TaskDefaults
  parameters: StateEntry[]
  buffers: StateEntry[]
  /** Elements of all parameters. */
  parameterCount: number
  evaluates: boolean
  finishes: boolean
  /** Of rank 0. */
  shared: SharedArrays
}

export interface BeginReply {
  /** SHA-256 over the parameters and buffers after the broadcast. */
  hash: string
  /** Steps of the whole run, when they are given or the data tells its length. */
  totalSteps: number | undefined
  /** Of one epoch, when the data tells. */
  epochSteps: number | undefined
}

export interface RunReply {
  /** Loss of each step on this rank, with the gradient's weighting. */
  losses: number[]
  /** Samples of this rank in these steps. */
  samples: number
  /** Seconds this rank waited for communication. */
  waitSeconds: number
  /** Learning rate of the last step; undefined when the optimizer does not tell. */
  lr: number | undefined
  /** Why it returned before `count` steps, or because of the last of them; 'stop': before a step. */
  ended: 'count' | 'stop' | 'epochs' | 'unequal'
  /** Where this rank stands in its data; compared over ranks when `ended` is 'unequal'. */
  position: DataPosition
  /** Lines for the user. */
  notes: string[]
  /** Which of these steps were left out; undefined where nobody asked for it. */
  skipped: boolean[] | undefined
  /** After these steps; undefined where no loss is scaled and no step left out. */
  lossScale: LossScale | undefined
  /** The task's metrics of these steps, summed. */
  metrics: Record<string, number>
  /** Norm of the averaged gradients of the last step, before clipping; undefined where it was not measured. */
  gradNorm: number | undefined
  /** Of the checkpoint that was asked for; undefined where the run ended before. */
  checkpoint: CheckpointReply | undefined
  /** The snapshot whose writing ended meanwhile. */
  snapshot: SnapshotEnd | undefined
}

/** How the writing of a snapshot ended: with the files' checksums, or why it failed. */
export type SnapshotEnd = { folder: string; seconds: number } & (
  | { files: Manifest['files']; failed?: undefined }
  | { failed: string; files?: undefined }
)

/** A rank's state at a checkpoint, but for the tensors. */
export interface CheckpointReply {
  random: RandomState
  position: DataPosition
  optimizer: OptimizerRecord
  gradientOrder: number[] | null
  lr: number
  /** Was it begun? Not where rank 0's device had no memory for copies and might not wait. */
  begun: boolean
}

export interface SettleReply {
  snapshot: SnapshotEnd | undefined
}

/** Where a rank stands in its data. */
export interface DataPosition {
  epoch: number
  /** Batches taken in this epoch, counting those of the current step. */
  batches: number
  /** Samples of the current step. */
  samples: number
  /** Had the epoch ended on this rank? */
  ended: boolean
}

export interface EvaluateReply {
  sums: Record<string, number>
}

export interface CollectReply {
  hash: string
  memory: DeviceUse
  weights?: Record<string, SafetensorsEntry>
}

export interface FinishReply {
  lines: string[]
}

/** The reply to each message, by its kind. */
export interface Replies {
  load: LoadReply
  begin: BeginReply
  run: RunReply
  checkpoint: CheckpointReply
  settle: SettleReply
  evaluate: EvaluateReply
  collect: CollectReply
  finish: FinishReply
  close: Record<string, never>
}

/** What a worker's handler returns: it never throws, so that classes and fields survive. `gone`: a thread without a replica. */
export type WorkerReply<T> =
  | { ok: true; value: T }
  | { ok: false; error: ErrorRecord; gone?: undefined }
  | { ok: false; gone: true }

// Votes: bitwise or over ranks after each step. A fact is voted together with its opposite, so that
// the or tells whether ranks disagree: a bit set on both sides means that they do.
const VOTE_MORE = 1
const VOTE_ENDED = 2
const SAMPLE_BITS = 12
const SAMPLE_MASK = (1 << SAMPLE_BITS) - 1
const SAMPLE_SHIFT = 2

/** What one rank says at the end of a step. */
export interface StepVote {
  /** This rank has no further batch in this epoch. */
  ended: boolean
  /** Samples in this rank's step. */
  samples: number
}

/** What the or of all votes tells. */
export interface VoteResult {
  ended: boolean
  /** Ranks differ in samples (modulo 4096), or only some of them ran out of data. */
  unequal: boolean
}

/** Packs a vote into the word that reducerFinish combines (26 bits of 31). */
export function packVote(vote: StepVote): number {
  const samples = vote.samples & SAMPLE_MASK
  const opposite = ~vote.samples & SAMPLE_MASK
  return (
    (vote.ended ? VOTE_ENDED : VOTE_MORE) |
    (samples << SAMPLE_SHIFT) |
    (opposite << (SAMPLE_SHIFT + SAMPLE_BITS))
  )
}

/** Reads the or of all ranks' votes. */
export function readVotes(votes: number): VoteResult {
  const samples = (votes >> SAMPLE_SHIFT) & SAMPLE_MASK
  const opposite = (votes >> (SAMPLE_SHIFT + SAMPLE_BITS)) & SAMPLE_MASK
  const endedAndMore = (votes & VOTE_ENDED) !== 0 && (votes & VOTE_MORE) !== 0
  return {
    ended: (votes & VOTE_ENDED) !== 0,
    unequal: endedAndMore || (samples & opposite) !== 0,
  }
}
