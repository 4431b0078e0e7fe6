// How a run ended: result.json in its folder, and the process that runs it, in its config.json. The coordinator writes
// both; `weft runs` tells from them whether a run still goes on. Needs no addon.
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { writeJsonAtomically } from '../checkpoint/atomic-write.js'
import { WeftError } from '../native/errors.js'
import type { TrainResult } from './events.js'

/** Name of the file in a run's folder. */
export const RESULT = 'result.json'

/** A process, told apart from a later one with the same number. */
export interface ProcessIdentity {
  host: string
  pid: number
  /** Since the machine started, in clock ticks; 0 where /proc does not tell. */
  startTicks: number
}

/** What result.json holds. */
export interface RunOutcome {
  state: 'finished' | 'stopped' | 'failed'
  /** When it ended, ISO 8601. */
  ended: string
  /** Of a run that did not fail: its result, without the losses of the steps. */
  result?: Omit<TrainResult, 'losses' | 'run'>
  /** Of a run that failed. */
  error?: { name: string; code?: string; message: string }
}

/** Start of a process in clock ticks; undefined where there is none, or no /proc. */
function startTicks(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the command in brackets and may hold anything; the start is the 22nd.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
  } catch {
    return undefined
  }
}

/** The process that calls. */
export function thisProcess(): ProcessIdentity {
  return { host: hostname(), pid: process.pid, startTicks: startTicks(process.pid) ?? 0 }
}

/** Does the process still run? Undefined for one of another machine. */
export function isRunning({ host, pid, startTicks: started }: ProcessIdentity) {
  if (host !== hostname()) return undefined
  return startTicks(pid) === started
}

/** Writes result.json of a run that came to its end or was stopped; nothing where the run has no folder. */
export async function writeResult(result: TrainResult): Promise<void> {
  const { losses: _, run, ...kept } = result
  if (run === undefined) return
  const state = result.stopped ? 'stopped' : 'finished'
  await write(run, { state, ended: new Date().toISOString(), result: kept })
}

/** Writes result.json of a run that failed. Never throws: the run's own failure says more. */
export async function writeFailure(run: string | undefined, error: unknown): Promise<void> {
  if (run === undefined) return
  const { name, message } = error instanceof Error ? error : new Error(String(error))
  const code = error instanceof WeftError ? { code: error.code } : {}
  const ended = new Date().toISOString()
  await write(run, { state: 'failed', ended, error: { name, ...code, message } }).catch(() => {})
}

const write = (run: string, outcome: RunOutcome) => writeJsonAtomically(join(run, RESULT), outcome)
