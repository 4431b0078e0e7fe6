// The data thread of one rank: calls the task's `data`, iterates what it returns and hands the batches on, so that
// collating costs the step's thread nothing. data-thread.ts starts it and asks.
//
// Design. Each stream has a count of batches that it may make; `start` gives batchesAhead and each `more` one. A stream
// makes them one after the other and stops when the count is used up, so batches come in the source's order and
// their number in flight is bounded. Arrays are copied once, as they may be views of a dataset, and then moved.
import { parentPort, workerData } from 'node:worker_threads'
import { UsageError } from '../../native/errors.js'
import { Tensor } from '../../tensor/tensor.js'
import { importTask } from '../module-loader.js'
import { type BatchSource, type HostTensor, type Task, taskOf } from '../task.js'
import { type Reader, readerBehind } from './batches.js'
import {
  batchesAhead,
  type DataMessage,
  type DataReply,
  type DataThreadSettings,
  type SentBatch,
} from './data-messages.js'
import { toErrorRecord } from './error-record.js'
import { inTask } from './task-call.js'
import { requireBatch } from './task-checks.js'

const port = parentPort!
const settings = workerData as DataThreadSettings

interface Stream {
  id: number
  reader: Reader
  /** Batches that may be made. */
  credit: number
  /** Is make() at work? */
  making: boolean
  ended: boolean
}

let task: Promise<Task> | undefined
/** The latest source of each split: a split's earlier ones, of epochs that are over, are let go. */
const sources = new Map<string, { id: number; source: BatchSource }>()
const streams = new Map<number, Stream>()

const say = (reply: DataReply, moved: ArrayBuffer[] = []) => port.postMessage(reply, moved)

async function loadTask(): Promise<Task> {
  process.setSourceMapsEnabled(true)
  const { module, source } = settings
  return taskOf(await inTask('the task module', () => importTask(module, source)), source)
}

async function open({ id, request }: Extract<DataMessage, { kind: 'open' }>): Promise<void> {
  task ??= loadTask()
  const { data } = await task
  const source = await inTask('task.data', () => data(request))
  sources.set(request.split, { id, source })
  const length = typeof source?.length === 'number' ? source.length : undefined
  say({ kind: 'opened', id, length })
}

async function start(id: number, source: number, skip: number): Promise<void> {
  const opened = [...sources.values()].find(({ id }) => id === source)
  if (opened === undefined) throw new UsageError('the data was opened again since: iterate that')
  const reader = await readerBehind(opened.source, skip)
  const stream = { id, reader, credit: batchesAhead, making: false, ended: false }
  streams.set(id, stream)
  await make(stream)
}

async function make(stream: Stream): Promise<void> {
  if (stream.making) return
  stream.making = true
  while (stream.credit > 0 && !stream.ended) {
    stream.credit--
    const { value, done } = await inTask('task.data', async () => stream.reader.next())
    if (stream.ended) break
    if (done) return drop(stream)
    requireBatch(value)
    const [batch, moved] = owned(value)
    say({ kind: 'batch', id: stream.id, batch }, moved)
  }
  stream.making = false
}

function drop(stream: Stream): void {
  stream.ended = true
  streams.delete(stream.id)
  say({ kind: 'ended', id: stream.id })
}

/** Copies of the batch's arrays, and their memory. */
function owned(batch: Record<string, Tensor | HostTensor>): [SentBatch, ArrayBuffer[]] {
  const moved: ArrayBuffer[] = []
  const entries = Object.entries(batch).map(([name, entry]) => {
    if (entry instanceof Tensor) {
      throw new UsageError(
        `task.data yielded a tensor as ${name}: a data thread hands on arrays of the host, { data, shape }`,
        { part: 'data' },
      )
    }
    const data = entry.data.slice()
    moved.push(data.buffer as ArrayBuffer)
    return [name, { ...entry, data }] as const
  })
  return [Object.fromEntries(entries), moved]
}

async function end(id: number): Promise<void> {
  const stream = streams.get(id)
  if (stream === undefined) return // it had ended, and said so
  stream.ended = true
  await inTask('task.data', async () => stream.reader.return?.())
  drop(stream)
}

async function handle(message: DataMessage): Promise<void> {
  try {
    if (message.kind === 'open') return await open(message)
    if (message.kind === 'start') return await start(message.id, message.source, message.skip)
    if (message.kind === 'end') return await end(message.id)
    const stream = streams.get(message.id)
    if (stream === undefined) return
    stream.credit++
    return await make(stream)
  } catch (error) {
    const { id } = message
    const stream = streams.get(id)
    if (stream) stream.ended = true
    streams.delete(id)
    say({ kind: 'failed', id, error: toErrorRecord(error) })
  }
}

port.on('message', (message: DataMessage) => void handle(message))
