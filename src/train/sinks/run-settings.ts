// What sinks are told of a run when they open. The coordinator calls it.
import { basename } from 'node:path'
import type { Fabric } from '../../fabric/fabric.js'
import type { CheckedOptions, RunSettings } from '../options.js'
import { precisionOf } from '../precision.js'
import type { LoadReply } from '../worker/protocol.js'
import type { SinkRun } from './sink.js'

/** The parts of a run that this is made of. */
export interface SinkRunParts {
  options: CheckedOptions
  settings: RunSettings
  task: LoadReply
  fabric: Fabric
  directory: { path: string | undefined }
  restarts: number
}

/** The run as sinks see it. */
export function sinkRun(parts: SinkRunParts): Omit<SinkRun, 'fail' | 'tell'> {
  const { options, settings, task, fabric, directory, restarts } = parts
  const folder = directory.path
  const all = {
    task: task.task,
    devices: fabric.devices.map((device) => device.name).join(' '),
    model: [...new Set(fabric.devices.map((device) => device.model))].join(', '),
    parameters: task.parameterCount,
    precision: precisionOf(options.precision),
    graph: options.graph,
    lr: options.lr,
    ...settings,
  }
  const known = Object.entries(all).filter((entry) => entry[1] !== undefined)
  return {
    name: folder === undefined ? task.task : basename(folder),
    task: task.task,
    folder,
    settings: Object.fromEntries(known) as SinkRun['settings'],
    restarts,
    memory: () => fabric.stats().devices,
  }
}
