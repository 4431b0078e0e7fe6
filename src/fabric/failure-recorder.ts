// The flight recorder of a process outside training runs: when a collective fails, the state of that
// moment goes to a file, and the error names it. openFabric and WEFT_FLIGHT_RECORDER turn it on for
// their thread; works report their failures here. (A run has its own: train/flight-recorder.ts.)
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { threadId } from 'node:worker_threads'
import { native } from '../native/addon.js'
import { UsageError, WeftError } from '../native/errors.js'

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
  latest = undefined
}

/** Writes the state of now, where that is asked for, and names the file in `error`. Never throws. */
export function recordFailure(error: unknown): void {
  if (folder === undefined || !(error instanceof WeftError) || !recorded.has(error.code)) return
  const path = write(folder)
  if (path === undefined || error.flightRecord !== undefined) return
  error.flightRecord = path
  error.message += `; the flight recorder wrote ${path}: weft inspect reads it`
}

function write(to: string): string | undefined {
  const at = performance.now()
  if (latest !== undefined && at - latest.at < oneFailureMs) return latest.path
  if (files >= mostFiles) return undefined
  const path = join(to, `flight-${process.pid}-${threadId}-${files + 1}.bin`)
  try {
    writeFileSync(path, new Uint8Array(native.snapshot(0, events)))
  } catch {
    return undefined // a full disk or a device that is gone must not hide why the collective failed
  }
  files += 1
  latest = { path, at }
  return path
}
