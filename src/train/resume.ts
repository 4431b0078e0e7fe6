// Where a run goes on: finds the run and the checkpoint that `resume` means, and what was not said anew of its
// options. Called by the coordinator before anything is opened; restoring.ts holds what comes after.
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import {
  type Checkpoint,
  isCheckpointName,
  newestCheckpoint,
  openCheckpoint,
} from '../checkpoint/checkpoint-folder.js'
import { MANIFEST } from '../checkpoint/manifest.js'
import { CheckpointError } from '../native/errors.js'
import { type CheckedOptions, checkOptions, type TrainerOptions } from './options.js'
import { checkpointsFolder } from './run-directory.js'

/** From where a run goes on. */
export interface Resumption {
  /** Folder of the run that goes on; undefined: it starts a folder of its own. */
  run: string | undefined
  /** Undefined: the run had none yet, it starts again. */
  checkpoint: Checkpoint | undefined
  /** The options, with what was not said as it was in that run. */
  options: CheckedOptions
  /** What the user should know. */
  notes: string[]
}

const CONFIG = 'config.json'

/** What config.json must have for a run to go on. */
interface RunConfig {
  source?: string
  started?: string
  options?: Record<string, unknown>
  settings?: Record<string, unknown>
}

/** The options of a run that may be left out when it goes on; batch size and the like come from its settings. */
const kept = [
  'devices',
  'virtual',
  'mesh',
  'graph',
  'precision',
  'lr',
  'bucketMegabytes',
  'gradNorm',
  'unusedParameters',
  'nonFinite',
  'maxSkippedInARow',
  'earlyStop',
  'deterministic',
  'checkpoint',
  'sinks',
]
const keptSettings = ['batchSize', 'accumulate', 'clipNorm', 'evaluateEvery', 'logEvery']

/** What `options.resume` means; `source` is the task's file. Throws CheckpointError where there is nothing such. */
export async function findResumption(
  options: CheckedOptions,
  source: string,
): Promise<Resumption | undefined> {
  if (options.resume === false) return undefined
  if (options.resume === true) {
    const run = await findRun(options, source)
    if (run !== undefined) return goOn(options, run)
    const notes = ['there is no run to resume: this one starts at step 0']
    return { run: undefined, checkpoint: undefined, options, notes }
  }
  const places = [resolve(options.resume), resolve(options.runsFolder, options.resume)]
  const isRun = (path: string) => existsSync(join(path, CONFIG))
  const isCheckpoint = (path: string) =>
    existsSync(join(path, MANIFEST)) || (isCheckpointName(path) && existsSync(path))
  const checkpoint = places.find(isCheckpoint)
  if (checkpoint !== undefined) return branch(options, checkpoint)
  const run = places.find(isRun)
  if (run !== undefined) return goOn(options, run)
  const there = places.filter((path) => existsSync(path))
  const why =
    there.length > 0
      ? `${there.join(' and ')} is neither a run (it has no ${CONFIG}) nor a checkpoint (it has no ${MANIFEST})`
      : `looked for ${places.join(' and ')}`
  throw new CheckpointError(`nothing to resume: ${why}`, { tried: places })
}

/** Goes on with a run, in its folder, from its newest whole checkpoint. */
async function goOn(options: CheckedOptions, run: string): Promise<Resumption> {
  const { checkpoint, ignored } = await newestCheckpoint(checkpointsFolder(run))
  const notes = ignored.map((reason) => `not taken: ${reason}`)
  if (checkpoint === undefined) notes.push('the run has no checkpoint yet: it starts at step 0')
  const merged = withConfig(options, await readConfig(run), checkpoint)
  return { run, checkpoint, options: merged, notes }
}

/** A new run from one checkpoint; the run that it is of stays as it is. */
async function branch(options: CheckedOptions, path: string): Promise<Resumption> {
  const checkpoint = await openCheckpoint(path)
  const run = dirname(dirname(path))
  const config = existsSync(join(run, CONFIG)) ? await readConfig(run) : {}
  const merged = withConfig(options, config, checkpoint)
  return { run: undefined, checkpoint, options: merged, notes: [] }
}

/** The run that `run` names, or the newest one of the task. */
async function findRun(options: CheckedOptions, source: string): Promise<string | undefined> {
  const folder = resolve(options.runsFolder)
  if (typeof options.run === 'string') {
    const path = join(folder, options.run.replaceAll(/[^\w.-]+/g, '-'))
    return existsSync(join(path, CONFIG)) ? path : undefined
  }
  let newest: { path: string; started: string } | undefined
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name)
    if (!existsSync(join(path, CONFIG))) continue
    const { source: of, started = '' } = await readConfig(path)
    if (of === source && (newest === undefined || started > newest.started)) {
      newest = { path, started }
    }
  }
  return newest?.path
}

async function readConfig(run: string): Promise<RunConfig> {
  const path = join(run, CONFIG)
  try {
    return JSON.parse(await readFile(path, 'utf8')) as RunConfig
  } catch (error) {
    throw new CheckpointError(`${path} cannot be read: ${(error as Error).message}`, { path })
  }
}

/** The options over those of the run. Throws CheckpointError for another seed: it would be other data. */
function withConfig(
  options: CheckedOptions,
  { options: before = {}, settings = {} }: RunConfig,
  checkpoint: Checkpoint | undefined,
): CheckedOptions {
  const defaults = checkOptions({ task: options.task }) as Record<string, unknown>
  const merged = { ...options } as Record<string, unknown>
  const take = (key: string, value: unknown) => {
    const unsaid =
      merged[key] === undefined || JSON.stringify(merged[key]) === JSON.stringify(defaults[key])
    if (unsaid && value !== undefined && value !== null) merged[key] = value
  }
  for (const key of kept) take(key, before[key])
  for (const key of keptSettings) take(key, settings[key])
  if (options.steps === undefined && options.epochs === undefined) {
    take('steps', settings.steps)
    if (merged.steps === undefined) take('epochs', settings.epochs)
  }
  const seed = checkpoint?.manifest.seed ?? (settings.seed as number | undefined)
  if (options.seed !== undefined && seed !== undefined && options.seed !== seed) {
    throw new CheckpointError(
      `the run has seed ${seed}, not ${options.seed}: with another it would see other data`,
      { seed, asked: options.seed },
    )
  }
  take('seed', seed)
  return checkOptions(merged as TrainerOptions)
}
