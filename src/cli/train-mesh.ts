// The flags of `weft train` for gradients and optimizer state that are cut over devices, and what is shown of the
// memory. train.ts adds them to the command.
import type { Command } from 'commander'
import { UsageError } from '../native/errors.js'
import type { DeviceUse } from '../train/memory-use.js'
import { formatBytes } from './format-bytes.js'

/** What commander makes of the flags. */
export interface MeshFlags {
  shard?: number | 'all'
  replicate?: number
}

/** Adds the flags; `whole` parses numbers. */
export function addMeshFlags(command: Command, whole: (text: string) => number): Command {
  return command
    .option(
      '--shard <count>',
      "cut gradients and optimizer state over so many devices, or 'all'",
      (text) => (text === 'all' ? text : whole(text)),
    )
    .option('--replicate <count>', 'so many such sets of devices side by side', whole)
}

/** The flags with those for the mesh as the trainer's option. Throws UsageError for one without the other. */
export function withMesh<F extends MeshFlags>(flags: F) {
  const { shard, replicate, ...rest } = flags
  if (shard === undefined) {
    if (replicate === undefined) return rest
    throw new UsageError('--replicate goes with --shard: over how many devices is the state cut?')
  }
  return { ...rest, mesh: { shard, ...(replicate === undefined ? {} : { replicate }) } }
}

/** The lines that tell the memory of each device. */
export function memoryLines(memory: readonly DeviceUse[]): string[] {
  return memory.map((use, i) => {
    const parts = [
      `parameters ${formatBytes(use.parameterBytes)}`,
      `gradients ${formatBytes(use.gradientBytes)}`,
      `optimizer state ${formatBytes(use.optimizerBytes)}`,
    ]
    const name = i === 0 ? 'memory    ' : '          '
    return `${name}${use.device}: ${parts.join(', ')}; at most ${formatBytes(use.peakBytes)}`
  })
}
