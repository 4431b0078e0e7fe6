// The end of a run: replicas compared, the task's own ending, what is written, the result. The coordinator calls it
// once the last step is done.
import type { Fabric } from '../fabric/fabric.js'
import type { ChoiceKeeper } from './choice-keeper.js'
import type { Crew } from './crew.js'
import type { TrainEvent, TrainResult } from './events.js'
import type { CheckedOptions } from './options.js'
import { precisionOf } from './precision.js'
import type { Recorder } from './recorder.js'
import type { RunDirectory } from './run-directory.js'
import { trainResult } from './run-result.js'
import type { LoadReply } from './worker/protocol.js'

/** What the end of a run needs. */
export interface ClosingParts {
  crew: Crew
  fabric: Fabric
  directory: RunDirectory
  options: Pick<CheckedOptions, 'saveWeights' | 'precision'>
  choices: ChoiceKeeper | undefined
  task: LoadReply
  recorder: Recorder
  stopped: boolean
  emit: (event: TrainEvent) => void
}

/** Compares the replicas, lets the task finish, and writes weights and snapshot. */
export async function closeRun(parts: ClosingParts): Promise<TrainResult> {
  const { crew, fabric, directory, options, task, recorder, stopped } = parts
  const wanted = options.saveWeights && directory.path !== undefined
  const replies = await crew.sendAll<'collect'>((rank) => ({
    kind: 'collect',
    weights: wanted && rank === 0,
  }))
  const { weights } = replies[0]!
  if (weights) {
    const step = String(recorder.steps)
    await directory.weights(weights, { format: 'weft', task: task.task, step })
  }
  if (task.finishes) {
    const { lines } = await crew.send<'finish'>(0, { kind: 'finish' })
    for (const line of lines) parts.emit({ kind: 'print', line })
  }
  await parts.choices?.close()
  if (directory.path) await directory.snapshot(fabric.snapshot().bytes)
  await crew.sendAll<'close'>(() => ({ kind: 'close' }))
  return trainResult({
    task,
    recorder,
    precision: precisionOf(options.precision),
    replies,
    devices: fabric.devices.map((device) => device.name),
    stopped,
    run: directory.path,
  })
}
