// Reads back what runs wrote into their folders: who they are, how they stand, their curves. `weft runs` shows it.
// Needs no addon, so it reads runs of other machines.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { type Curves, HELD_OUT, readCurves } from '../metrics/curves.js'
import { CheckpointError, UsageError } from '../native/errors.js'
import { isRunning, type ProcessIdentity, RESULT, type RunOutcome } from '../train/run-outcome.js'

/** 'unknown': it has no result and was started on another machine, or before runs told their process. */
export type RunState = RunOutcome['state'] | 'running' | 'killed' | 'unknown'

/** One run, read from its folder. */
export interface RunRecord {
  name: string
  path: string
  task: string
  state: RunState
  /** When it was started, the last time where it was resumed; ISO 8601. */
  started: string
  /** Wall time since then, up to its end, to its last line where it was killed, or to now. */
  seconds: number
  devices: string[]
  parameters: number | undefined
  /** Steps done, as far as the folder tells. */
  steps: number
  /** Steps of the whole run, where they were given. */
  totalSteps: number | undefined
  /** Of the last step; of the last log line while there is no result. */
  loss: number | undefined
  /** Of the last evaluation. */
  metrics: Record<string, number>
  samplesPerSecond: number | undefined
  /** Why it failed. */
  error: string | undefined
  /** Options and settings by name. */
  settings: Record<string, unknown>
  curves: Curves
}

interface Config {
  task?: string
  source?: string
  options?: Record<string, unknown>
  settings?: Record<string, unknown>
  devices?: { name: string }[]
  parameters?: number
  started?: string
  process?: ProcessIdentity
  node?: string
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new CheckpointError(`${path} cannot be read: ${(error as Error).message}`, { path })
  }
}

function curvesOf(path: string): Curves {
  if (!existsSync(path)) return {}
  try {
    return readCurves(path)
  } catch (error) {
    throw new CheckpointError(`${path} cannot be read: ${(error as Error).message}`, { path })
  }
}

function stateOf(config: Config, outcome: RunOutcome | undefined): RunState {
  if (outcome) return outcome.state
  const running = config.process && isRunning(config.process)
  if (running === undefined) return 'unknown'
  return running ? 'running' : 'killed'
}

function secondsOf(path: string, started: string, state: RunState, ended: string | undefined) {
  const metrics = join(path, 'metrics.jsonl')
  const written = () => (existsSync(metrics) ? statSync(metrics).mtimeMs : Date.parse(started))
  const end = ended !== undefined ? Date.parse(ended) : state === 'running' ? Date.now() : written()
  return Math.max(0, (end - Date.parse(started)) / 1000)
}

/** Reads one run. Throws CheckpointError where a file of it cannot be read. */
export function readRun(path: string): RunRecord {
  const config = readJson(join(path, 'config.json')) as Config
  const file = join(path, RESULT)
  const outcome = existsSync(file) ? (readJson(file) as RunOutcome) : undefined
  const { result, error, ended } = outcome ?? {}
  const { started = '', settings = {}, options = {}, devices = [] } = config
  const curves = curvesOf(join(path, 'metrics.jsonl'))
  const last = (name: string) => curves[name]?.at(-1)
  const state = stateOf(config, outcome)
  const evaluated = Object.keys(curves).filter((name) => name.startsWith(HELD_OUT))
  const metrics = Object.fromEntries(
    evaluated.map((name) => [name.slice(HELD_OUT.length), last(name)!.value]),
  )
  return {
    name: basename(path),
    path,
    task: config.task ?? '',
    state,
    started,
    seconds: secondsOf(path, started, state, ended),
    devices: devices.map(({ name }) => name),
    parameters: config.parameters,
    steps: result?.steps ?? last('loss')?.step ?? 0,
    totalSteps: typeof settings.steps === 'number' ? settings.steps : undefined,
    loss: result?.loss ?? last('loss')?.value,
    metrics: result?.metrics ?? metrics,
    samplesPerSecond: result?.samplesPerSecond ?? last('samplesPerSecond')?.value,
    error: error && `${error.name}: ${error.message}`,
    // Settings are options after the task's defaults were heard: they hold.
    settings: { source: config.source, ...options, ...settings, node: config.node },
    curves,
  }
}

/** What a look into a folder of runs found. */
export interface FoundRuns {
  /** Oldest first. */
  runs: RunRecord[]
  /** Why others were left out, one sentence each. */
  unreadable: string[]
}

/** All runs in a folder. Throws UsageError where there is no such folder. */
export function findRuns(folder: string): FoundRuns {
  const found: FoundRuns = { runs: [], unreadable: [] }
  let names: string[]
  try {
    names = readdirSync(folder)
  } catch (error) {
    throw new UsageError(`no runs in ${folder}: ${(error as Error).message}`, { folder })
  }
  for (const name of names) {
    const path = join(folder, name)
    if (!existsSync(join(path, 'config.json'))) continue
    try {
      found.runs.push(readRun(path))
    } catch (error) {
      found.unreadable.push((error as Error).message)
    }
  }
  found.runs.sort((a, b) => a.started.localeCompare(b.started) || a.name.localeCompare(b.name))
  return found
}

/** The run that a name in `folder`, or a path, means. Throws UsageError where there is none. */
export function openRun(name: string, folder: string): RunRecord {
  const places = [resolve(folder, name), resolve(name)]
  const path = places.find((place) => existsSync(join(place, 'config.json')))
  if (path !== undefined) return readRun(path)
  const [first, second] = places
  const looked = first === second ? first : `${first} and ${second}`
  throw new UsageError(`no run ${name}: looked for ${looked}`, { name, folder })
}
