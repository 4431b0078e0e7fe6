// The worker thread of one rank: what piscina loads and calls with each message. It answers every
// message with a reply, never with a throw, so that errors keep their class and fields on the way to
// the coordinator. The replica stays in this module between messages.
import { toErrorRecord } from './error-record.js'
import type { MessageKind, Replies, WorkerMessage, WorkerReply } from './protocol.js'
import type { Replica } from './replica.js'

/** Frames of a stack: the task's own lie below those of weft. */
const STACK_FRAMES = 40

let replica: Replica | undefined

/** Handles one message of the coordinator. */
export default async function handle(
  message: WorkerMessage,
): Promise<WorkerReply<Replies[MessageKind]>> {
  // The thread that had the replica ended between two messages, and the pool began another.
  if (message.kind !== 'load' && replica === undefined) return { ok: false, gone: true }
  try {
    return { ok: true, value: await answer(message) }
  } catch (error) {
    return { ok: false, error: toErrorRecord(error, replica?.step ?? 0) }
  }
}

async function answer(message: WorkerMessage): Promise<Replies[MessageKind]> {
  if (message.kind === 'load') {
    process.setSourceMapsEnabled(true)
    Error.stackTraceLimit = STACK_FRAMES
    // Not at the top: an addon that does not load is then reported like any other error.
    const { Replica } = await import('./replica.js')
    replica = new Replica(message)
    return replica.load(message)
  }
  const loaded = replica!
  switch (message.kind) {
    case 'begin':
      return loaded.begin(message)
    case 'run':
      return loaded.run(message)
    case 'checkpoint':
      return loaded.checkpoint(message)
    case 'settle':
      return loaded.settle()
    case 'evaluate':
      return loaded.evaluate(message)
    case 'collect':
      return loaded.collect(message)
    case 'finish':
      return loaded.finish()
    case 'close':
      replica = undefined
      return loaded.close()
  }
}
