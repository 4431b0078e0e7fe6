// The flags of `weft train` for checkpoints, resuming and restarts, and what is shown of them. train.ts adds them to
// the command.
import { relative } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { formatDuration } from '../metrics/progress.js'
import type { TrainEvent } from '../train/events.js'
import { formatBytes } from './format-bytes.js'

/** What commander makes of the flags. */
export interface CheckpointFlags {
  checkpointEvery?: number
  checkpointMinutes?: number
  keepCheckpoints?: number
  best?: { metric: string; mode: 'min' | 'max' }
  resume?: string | true
  restarts?: number
}

/** 'accuracy:max' → its parts. */
function bestMetric(text: string): CheckpointFlags['best'] {
  const [, metric, mode] = /^(.+):(min|max)$/.exec(text) ?? []
  if (metric === undefined) {
    throw new InvalidArgumentError("it must be a metric and a direction, as in 'accuracy:max'.")
  }
  return { metric, mode: mode as 'min' | 'max' }
}

/** Adds the flags; `whole` and `decimal` parse numbers. */
export function addCheckpointFlags(
  command: Command,
  { whole, decimal }: { whole: (text: string) => number; decimal: (text: string) => number },
): Command {
  return command
    .option('--checkpoint-every <steps>', 'take a checkpoint every so many steps', whole)
    .option('--checkpoint-minutes <minutes>', 'take a checkpoint every so many minutes', decimal)
    .option('--keep-checkpoints <count>', 'so many of the newest stay (2)', whole)
    .option('--best <metric:min|max>', 'keep the checkpoint that is best by a metric', bestMetric)
    .option(
      '--resume [run]',
      'go on with a run, or from a checkpoint in a new run; without a name: the newest of this task',
    )
    .option('--restarts <count>', 'go on so many times after a worker died', whole)
}

/** The flags with those for checkpoints as the trainer's option. */
export function withCheckpoint<F extends CheckpointFlags>(flags: F) {
  const { checkpointEvery, checkpointMinutes, keepCheckpoints, best, ...rest } = flags
  const checkpoint = {
    ...(checkpointEvery === undefined ? {} : { everySteps: checkpointEvery }),
    ...(checkpointMinutes === undefined ? {} : { everyMinutes: checkpointMinutes }),
    ...(keepCheckpoints === undefined ? {} : { keep: keepCheckpoints }),
    ...(best === undefined ? {} : { best }),
  }
  return Object.keys(checkpoint).length === 0 ? rest : { ...rest, checkpoint }
}

/** The line for an event of checkpoints; undefined for others. */
export function checkpointLine(event: TrainEvent): string | undefined {
  const path = (absolute: string) => relative(process.cwd(), absolute) || '.'
  if (event.kind === 'checkpoint') {
    const { step, bytes, seconds, best } = event
    const what = best ? 'best checkpoint so far' : 'checkpoint'
    return `step ${step}  ${what}, ${formatBytes(bytes)} in ${formatDuration(seconds)}`
  }
  if (event.kind === 'resumed') return `resumed   behind step ${event.step}, ${path(event.path)}`
  if (event.kind !== 'restart') return undefined
  return `restart ${event.restart} of ${event.restarts}: ${event.reason}`
}
