// What a rank's worker and its data thread say to each other. data-thread.ts is the worker's side, data-main.ts the
// thread's.
import type { DataRequest, HostTensor } from '../task.js'
import type { ErrorRecord } from './error-record.js'

/** Batches that may lie ready or on their way: made while a step runs. */
export const batchesAhead = 3

/** What the thread is started with. */
export interface DataThreadSettings {
  /** Importable file URL of the task. */
  module: string
  /** What the user asked for, for error messages. */
  source: string
}

/** To the thread. A stream is one iteration of one source; numbers are the worker's. */
export type DataMessage =
  /** Calls task.data; answered by `opened` or `failed`. */
  | { kind: 'open'; id: number; request: DataRequest }
  /** Makes batches of the source behind its first `skip`, batchesAhead of them. */
  | { kind: 'start'; id: number; source: number; skip: number }
  /** A batch was taken: one more may be made. */
  | { kind: 'more'; id: number }
  /** The iterator ends early; answered by `ended`. */
  | { kind: 'end'; id: number }

/** One batch, its arrays owned by who receives it. */
export type SentBatch = Record<string, HostTensor>

/** From the thread, about a source or a stream. */
export type DataReply =
  | { kind: 'opened'; id: number; length: number | undefined }
  | { kind: 'batch'; id: number; batch: SentBatch }
  | { kind: 'ended'; id: number }
  | { kind: 'failed'; id: number; error: ErrorRecord }
