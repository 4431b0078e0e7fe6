// What coordinator and workers say to each other: messages, replies, the shared control words, the
// votes of a step, and errors in a form that survives postMessage with their class and fields.
// Both sides import it; it holds no state.
import type { SafetensorsEntry } from '../../checkpoint/safetensors.js'
import { errorClasses, type WeftError } from '../../native/errors.js'
import type { TaskDefaults } from '../task.js'

// Words of the shared Int32Array that coordinator and workers both see.
/** Not 0: stop after the step in progress. Written by the coordinator. */
export const CONTROL_STOP = 0
/** Grows with every step and batch of any rank; standing still means that nothing moves. */
export const CONTROL_BEATS = 1
/** `control[CONTROL_STEPS + rank]` is the step (from 1) that the rank works on, 0 before the first. */
export const CONTROL_STEPS = 2

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
}

/** Copies rank 0's weights, makes the reducer, the optimizer and the first batches. */
export interface BeginMessage {
  kind: 'begin'
  group: number
  batchSize: number
  accumulate: number
  clipNorm: number | undefined
  lr: number | undefined
  bucketBytes: number
  timeoutMs: number
  /** Capture the step and replay it. */
  graph: boolean
  steps: number | undefined
  epochs: number | undefined
}

/** Trains steps `from` … `from + count - 1`, counted from 1. */
export interface RunMessage {
  kind: 'run'
  from: number
  count: number
  /** The run ends where this epoch ends, when epochs bound it. */
  epochs: number | undefined
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
  defaults: TaskDefaults
  parameters: StateEntry[]
  buffers: StateEntry[]
  /** Elements of all parameters. */
  parameterCount: number
  evaluates: boolean
  finishes: boolean
}

export interface BeginReply {
  /** SHA-256 over the parameters and buffers after the broadcast. */
  hash: string
  /** Steps of the whole run, when they are given or the data tells its length. */
  totalSteps: number | undefined
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
  /** Why it returned before `count` steps, or because of the last of them. */
  ended: 'count' | 'stop' | 'epochs' | 'unequal'
  /** Where this rank stands in its data; compared over ranks when `ended` is 'unequal'. */
  position: DataPosition
  /** Lines for the user. */
  notes: string[]
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
  evaluate: EvaluateReply
  collect: CollectReply
  finish: FinishReply
  close: Record<string, never>
}

/** An error as plain data. */
export interface ErrorRecord {
  code: string | undefined
  name: string
  message: string
  fields: Record<string, unknown>
  stack: string | undefined
  /** Step that the rank worked on, 0 outside the steps. */
  step: number
}

/** What a worker's handler returns: it never throws, so that classes and fields survive. */
export type WorkerReply<T> = { ok: true; value: T } | { ok: false; error: ErrorRecord }

// Votes: bitwise or over ranks after each step. A fact is voted together with its opposite, so that
// the or tells whether ranks disagree: a bit set on both sides means that they do.
const VOTE_STOP = 1
const VOTE_MORE = 2
const VOTE_ENDED = 4
const SAMPLE_BITS = 12
const SAMPLE_MASK = (1 << SAMPLE_BITS) - 1
const SAMPLE_SHIFT = 3

/** What one rank says at the end of a step. */
export interface StepVote {
  /** Stop after this step. */
  stop: boolean
  /** This rank has no further batch in this epoch. */
  ended: boolean
  /** Samples in this rank's step. */
  samples: number
}

/** What the or of all votes tells. */
export interface VoteResult {
  stop: boolean
  ended: boolean
  /** Ranks differ in samples (modulo 4096), or only some of them ran out of data. */
  unequal: boolean
}

/** Packs a vote into the word that reducerFinish combines (31 bits). */
export function packVote(vote: StepVote): number {
  const samples = vote.samples & SAMPLE_MASK
  const opposite = ~vote.samples & SAMPLE_MASK
  return (
    (vote.stop ? VOTE_STOP : 0) |
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
    stop: (votes & VOTE_STOP) !== 0,
    ended: (votes & VOTE_ENDED) !== 0,
    unequal: endedAndMore || (samples & opposite) !== 0,
  }
}

/** Turns anything thrown into plain data. */
export function toErrorRecord(thrown: unknown, step = 0): ErrorRecord {
  if (!(thrown instanceof Error)) {
    return {
      code: undefined,
      name: 'Error',
      message: String(thrown),
      fields: {},
      stack: undefined,
      step,
    }
  }
  const { code, fields } = thrown as Partial<WeftError>
  return {
    code: typeof code === 'string' ? code : undefined,
    name: thrown.name,
    message: thrown.message,
    fields: cloneable(fields),
    stack: thrown.stack,
    step,
  }
}

/** Fields that structured clone takes; what it refuses becomes text. */
function cloneable(fields: unknown): Record<string, unknown> {
  if (typeof fields !== 'object' || fields === null) return {}
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => {
      try {
        return [key, structuredClone(value)]
      } catch {
        return [key, String(value)]
      }
    }),
  )
}

/** Is this one of weft's own errors? Others are faults of the task's code. */
export function isWeftRecord(record: ErrorRecord): boolean {
  return classOf(record) !== undefined
}

function classOf(record: ErrorRecord) {
  return errorClasses.find((cls) => cls.name === record.name && record.code?.startsWith('WEFT_'))
}

/** Makes the error again, with its class, its stack, and `extra` added to its fields. */
export function reviveError(
  record: ErrorRecord,
  message = record.message,
  extra: Record<string, unknown> = {},
): Error {
  const cls = classOf(record)
  const error = cls
    ? new cls(message, { ...record.fields, ...extra })
    : Object.assign(new Error(message), { name: record.name })
  if (record.stack !== undefined) error.stack = record.stack
  return error
}
