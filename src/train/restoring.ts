// Does a checkpoint fit the run, and what does each rank take over from it? Comparisons by name, and the rules for
// another number of devices. Called by the coordinator between loading the task and the first step.
import { join } from 'node:path'
import type { Checkpoint } from '../checkpoint/checkpoint-folder.js'
import { type Manifest, WEIGHTS } from '../checkpoint/manifest.js'
import { SafetensorsReader } from '../checkpoint/safetensors-file.js'
import { CheckpointError } from '../native/errors.js'
import type { RunSettings } from './options.js'
import type { LoadReply, ResumeState } from './worker/protocol.js'

/** So many differences are listed. */
const LISTED = 8

/** Throws CheckpointError naming the parameters and buffers that are not as in the checkpoint. */
export async function requireFits({ path, manifest }: Checkpoint, task: LoadReply): Promise<void> {
  const fail = (text: string): never => {
    throw new CheckpointError(`${path} does not fit the task: ${text}`, { path })
  }
  if (manifest.task !== task.task) fail(`it is of task ${manifest.task}, this is ${task.task}`)
  const reader = await SafetensorsReader.open(join(path, WEIGHTS))
  await reader.close()
  const saved = reader.header.tensors
  const own = [...task.parameters, ...task.buffers]
  const names = new Set(own.map(({ name }) => name))
  const differences = own.flatMap(({ name, shape, dtype }) => {
    const was = saved.get(name)
    const is = `[${shape.join(', ')}] ${dtype}`
    if (was === undefined) return [`${name} ${is} is not in it`]
    const before = `[${was.shape.join(', ')}] ${was.dtype}`
    return before === is ? [] : [`${name} is ${before} in it, ${is} in the task`]
  })
  for (const name of saved.keys()) {
    if (!names.has(name)) differences.push(`it has ${name}, the task has not`)
  }
  if (differences.length === 0) return
  const more = differences.length - LISTED
  const list = differences.slice(0, LISTED).join('; ')
  fail(more > 0 ? `${list}; and ${more} more` : list)
}

/**
 * Where training goes on. On as many devices with the same batch size: exactly behind the last batch. Else at the
 * same share of the epoch: so many samples as were seen, in whole batches of now, rounded down.
 */
export function dataPosition(
  { data, settings: before, world: worldBefore }: Manifest,
  settings: Pick<RunSettings, 'batchSize'>,
  world: number,
): ResumeState['data'] {
  if (data.ended) return { epoch: data.epoch + 1, batches: 0 }
  const samples = data.batches * before.batchSize * worldBefore
  return { epoch: data.epoch, batches: Math.floor(samples / (settings.batchSize * world)) }
}

/** What a rank takes over. */
export function resumeState(
  { path, manifest }: Checkpoint,
  settings: RunSettings,
  world: number,
  rank: number,
): ResumeState {
  const same = manifest.world === world
  return {
    folder: path,
    step: manifest.step,
    data: dataPosition(manifest, settings, world),
    random: same ? manifest.random[rank] : undefined,
    optimizer: manifest.optimizer,
    gradientOrder: manifest.gradientOrder,
  }
}

/** What makes the rest of the run differ from one without interruption, as lines for the user. */
export function changes(
  manifest: Manifest,
  settings: RunSettings,
  now: { world: number; bucketMegabytes: number; precision: string },
): string[] {
  const { settings: before, world } = manifest
  const compared: [string, number | string, number | string][] = [
    ['precision', manifest.precision, now.precision],
    ['devices', world, now.world],
    ['batchSize', before.batchSize, settings.batchSize],
    ['accumulate', before.accumulate, settings.accumulate],
    ['bucketMegabytes', before.bucketMegabytes, now.bucketMegabytes],
  ]
  const different = compared.filter(([, was, is]) => was !== is)
  if (different.length === 0) return []
  const list = different.map(([name, was, is]) => `${name} ${was} → ${is}`).join(', ')
  return [`${list}: the run goes on, but not with the bits that it would have had`]
}
