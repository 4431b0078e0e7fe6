// The folder of one run: config.json, metrics.jsonl, snapshot.bin, weights.safetensors, result.json (run-outcome.ts),
// curves.svg (run-plot.ts), checkpoints/ and, on GPUs, gemm-choices.json. The coordinator makes one after the workers loaded the task; all files but the
// growing metrics are written whole or not at all. With `run: false` nothing is written.
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { writeAtomically, writeJsonAtomically } from '../checkpoint/atomic-write.js'
import { type SafetensorsEntry, safetensorsPieces } from '../checkpoint/safetensors.js'
import type { GemmChoices } from '../fabric/gemm-choices.js'
import { JsonLines, type JsonRecord, readJsonLines } from '../metrics/jsonl.js'
import { RESULT } from './run-outcome.js'

const METRICS = 'metrics.jsonl'

/** Folder of a run's checkpoints. */
export function checkpointsFolder(run: string): string {
  return join(run, 'checkpoints')
}

/** Takes what a run wrote behind `step` out of its metrics: it goes on from there. */
export async function trimMetrics(run: string, step: number): Promise<void> {
  const path = join(run, METRICS)
  if (!existsSync(path)) return
  const kept = readJsonLines(path).filter((record) => Number(record.step) <= step)
  await writeAtomically(
    path,
    kept.map((record) => `${JSON.stringify(record)}\n`),
  )
}

/** Where a run is written. */
export interface RunDirectoryOptions {
  /** The folder that holds the runs. */
  folder: string
  /** Name of the run; made from the task and the time when undefined, nothing written when false. */
  name: string | false | undefined
  task: string
  /** Path of a run that goes on: its folder is taken as it is. */
  existing?: string | undefined
  now?: Date
}

/** '2026-03-01T12:34:56Z' → '20260301-123456'. */
function timeStamp(now: Date): string {
  return now
    .toISOString()
    .replace(/\.\d+Z$/, '')
    .replaceAll(/[-:]/g, '')
    .replace('T', '-')
}

/** Makes `folder/name`, or `folder/name-2` and so on when that is taken, and returns its path. */
function makeFolder(folder: string, name: string): string {
  mkdirSync(folder, { recursive: true })
  for (let count = 1; ; count++) {
    const path = join(folder, count === 1 ? name : `${name}-${count}`)
    if (existsSync(path)) continue
    try {
      mkdirSync(path)
      return path
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

/** Writes what a run leaves behind. */
export class RunDirectory {
  /** Absolute path; undefined when the run is not written. */
  readonly path: string | undefined
  readonly #metrics: JsonLines | undefined

  constructor(options: RunDirectoryOptions) {
    if (options.existing !== undefined) {
      this.path = resolve(options.existing)
      rmSync(join(this.path, RESULT), { force: true }) // it goes on
      this.#metrics = new JsonLines(join(this.path, METRICS))
      return
    }
    if (options.name === false) return
    const name = options.name ?? `${options.task}-${timeStamp(options.now ?? new Date())}`
    this.path = makeFolder(resolve(options.folder), name.replaceAll(/[^\w.-]+/g, '-'))
    this.#metrics = new JsonLines(join(this.path, METRICS))
  }

  /** Appends one line to metrics.jsonl. */
  metrics(record: JsonRecord): void {
    this.#metrics?.append(record)
  }

  /** The evaluations in metrics.jsonl. */
  evaluations(): { step: number; metrics: Record<string, number> }[] {
    if (!this.path) return []
    return readJsonLines(join(this.path, METRICS)).flatMap(
      ({ kind, step, timeMs: _, ...metrics }) =>
        kind === 'evaluation'
          ? [{ step: step as number, metrics: metrics as Record<string, number> }]
          : [],
    )
  }

  /** Writes config.json. */
  async config(value: unknown): Promise<void> {
    if (this.path) await writeJsonAtomically(join(this.path, 'config.json'), value)
  }

  /** Writes snapshot.bin: the packed bytes, which Snapshot.decode reads. */
  async snapshot(bytes: ArrayBuffer): Promise<void> {
    if (this.path) await writeAtomically(join(this.path, 'snapshot.bin'), [new Uint8Array(bytes)])
  }

  /** Writes flight.bin, the snapshot of a run that failed; its path. */
  async flight(bytes: ArrayBuffer): Promise<string | undefined> {
    if (!this.path) return undefined
    const file = join(this.path, 'flight.bin')
    await writeAtomically(file, [new Uint8Array(bytes)])
    return file
  }

  /** Writes gemm-choices.json. */
  async gemmChoices(choices: GemmChoices): Promise<void> {
    if (this.path) await writeJsonAtomically(join(this.path, 'gemm-choices.json'), choices)
  }

  /** Writes weights.safetensors. */
  async weights(tensors: Record<string, SafetensorsEntry>, metadata: Record<string, string>) {
    if (!this.path) return
    await writeAtomically(
      join(this.path, 'weights.safetensors'),
      safetensorsPieces(tensors, metadata),
    )
  }

  /** Closes metrics.jsonl; may be called again. */
  close(): void {
    this.#metrics?.close()
  }
}
