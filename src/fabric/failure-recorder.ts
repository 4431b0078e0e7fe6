// The flight recorder of a process outside training runs: when a collective fails, or a device for good,
// the state of that moment goes to a file, and the error names it. openFabric and WEFT_FLIGHT_RECORDER turn
// it on for their thread, whose native errors it then sees as they are made. (A run has its own:
// train/flight-recorder.ts, which writes here when the run has no folder.)
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { threadId } from 'node:worker_threads'
import { native } from '../native/addon.js'
import { observeNativeErrors, UsageError, type WeftError } from '../native/errors.js'

/** So many of the newest events are written. */
const events = 16_384
/** A process that fails again and again does not fill the disk. */
const mostFiles = 16
/** Ranks that fail of one cause come within this; they share a file. */
const oneFailureMs = 500

const recorded = new Set([
  'WEFT_COLLECTIVE_TIMEOUT',
  'WEFT_DESYNC',
  'WEFT_GROUP_ABORTED',
  'WEFT_FABRIC_POISONED',
  'WEFT_CUDA',
  'WEFT_PLUGIN',
])

let folder: string | undefined
let files = 0
let latest: { path: string; at: number } | undefined
/** A lost device fails every later call: the first record tells the most. */
let poisoned: string | undefined

/** Failures of this thread go to `to` from now on, which is made; undefined ends that. */
export function recordFailures(to: string | undefined): void {
  if (to !== undefined) {
    try {
      mkdirSync(to, { recursive: true })
    } catch (error) {
      throw new UsageError(
        `the flight recorder cannot write to ${to}: ${(error as Error).message}; name a folder that can be made`,
      )
    }
  }
  folder = to === undefined ? undefined : resolve(to)
  latest = poisoned = undefined
  observeNativeErrors(to === undefined ? undefined : recordFailure)
}

/** Writes the state of now and names the file in `error`, where it is one to record. Never throws. */
function recordFailure(error: WeftError): void {
  if (!recorded.has(error.code)) return
  const forGood = error.code === 'WEFT_FABRIC_POISONED'
  const path = (forGood ? poisoned : undefined) ?? recordState()
  if (forGood) poisoned = path
  if (path !== undefined) nameRecord(error, path)
}

/** Says in `error` that `path` tells what happened. */
export function nameRecord(error: WeftError, path: string): void {
  if (error.flightRecord !== undefined) return
  error.flightRecord = path
  error.message += `; the flight recorder wrote ${path}: weft inspect reads it`
}

/** Writes a state, that of now unless given; the file, undefined where there is none. Never throws. */
export function recordState(state?: ArrayBuffer): string | undefined {
  if (folder === undefined) return undefined
  const at = performance.now()
  if (latest !== undefined && at - latest.at < oneFailureMs) return latest.path
  if (files >= mostFiles) return undefined
  const path = join(folder, `flight-${process.pid}-${threadId}-${files + 1}.bin`)
  try {
    writeFileSync(path, new Uint8Array(state ?? native.snapshot(0, events)))
  } catch {
    return undefined // a full disk or a device that is gone must not hide why the collective failed
  }
  files += 1
  latest = { path, at }
  return path
}
