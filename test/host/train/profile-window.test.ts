// profile: { from, to }: the trace and the snapshot hold the steps of the window and no other, with device times; the log
// is as it was outside it. The trace is held against Perfetto's own schema where that is installed:
// npm run readers
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Snapshot, type TrainEvent, Trainer, type TrainerOptions } from 'weft'
import { several } from '../device.js'

const task = new URL('../tasks/regression.mjs', import.meta.url)
const path = (of: string) => fileURLToPath(new URL(of, import.meta.url))
const packages = path('../../../.weft/perfetto')
const installed = existsSync(join(packages, 'perfetto'))

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-profile-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

async function train(options: Partial<TrainerOptions>) {
  const notes: string[] = []
  const trainer: Trainer = new Trainer({
    ...{ task, ...several(2), runsFolder: folder, run: 'r', batchSize: 8, steps: 30 },
    ...options,
    onEvent: (event: TrainEvent) => {
      if (event.kind === 'note') notes.push(event.line)
      options.onEvent?.(event)
    },
  })
  const result = await trainer.fit()
  return { result, notes: notes.filter((line) => line.startsWith('profile ')) }
}

const profiles = () => readdirSync(join(folder, 'r')).filter((name) => name.startsWith('profile-'))
const read = (name: string) => Snapshot.decode(readFileSync(join(folder, 'r', name)))
const marks = (snapshot: Snapshot) =>
  snapshot.events.flatMap((event) => (event.kind === 'step' && event.id > 0 ? [event.id] : []))

describe('a profile window', () => {
  it('holds its steps and no other, with device times, and changes no bit', async () => {
    const plain = await train({ run: 'plain' })
    const { result, notes } = await train({ profile: { from: 12, to: 14 } })
    expect(result.hash).toBe(plain.result.hash)
    expect(profiles()).toEqual(['profile-12-14.bin', 'profile-12-14.pftrace'])
    expect(notes).toEqual([expect.stringMatching(/^profile {3}steps 12 to 14: .*pftrace/)])
    const window = read('profile-12-14.bin')
    expect(marks(window).sort()).toEqual([12, 12, 13, 13, 14, 14])
    const operators = window.events.filter((event) => event.kind === 'operator')
    expect(operators.length).toBeGreaterThan(100)
    expect(operators.every((event) => event.deviceNs > 0)).toBe(true)
    // But for the tensor of the losses and the like, each ran between the first mark of its device and the last.
    const outside = operators.filter(({ device, deviceNs }) => {
      const own = window.events.filter((event) => event.kind === 'step' && event.device === device)
      return deviceNs < own[0]!.deviceNs || deviceNs > own.at(-1)!.deviceNs
    })
    expect(outside.length).toBeLessThanOrEqual(4)
    expect(window.dropped + window.skipped).toBe(0)
    // The snapshot of the run's end has records of later steps, in the mode that the run had.
    const end = read('snapshot.bin')
    expect(end.logMode).toBe('basic')
    const later = end.events.filter(
      (event) => event.kind === 'operator' && event.sequence >= window.nextSequence,
    )
    expect(later.length).toBeGreaterThan(100)
    expect(later.every((event) => event.deviceNs === 0)).toBe(true)
  })

  it.skipIf(!installed)(
    installed
      ? 'is a trace by the schema of Perfetto'
      : 'is a trace (skipped: no .weft/perfetto, npm run readers)',
    async () => {
      await train({ profile: { from: 2, to: 3 }, steps: 5 })
      const trace = join(folder, 'r', 'profile-2-3.pftrace')
      const program = `
import sys
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema
trace = schema.Trace()
trace.ParseFromString(open(sys.argv[1], 'rb').read())
steps = {p.track_descriptor.uuid for p in trace.packet if p.track_descriptor.name.endswith(' steps')}
print(*sorted({p.track_event.name for p in trace.packet if p.track_event.track_uuid in steps and p.track_event.name}))`
      const python = (...args: string[]) =>
        spawnSync('python3', args, {
          ...{ encoding: 'utf8', timeout: 60_000 },
          env: { ...process.env, PYTHONPATH: packages },
        })
      const checked = python(path('../../../scripts/check/perfetto-trace.py'), trace)
      expect(checked.stdout + checked.stderr).toMatch(/pftrace: ok\n$/)
      expect(python('-c', program, trace).stdout).toBe('step 2 step 3\n')
    },
  )

  it('of captured steps, also where the capture lies in it, has replays with device times', async () => {
    const plain = await train({ run: 'plain', graph: true })
    const { result } = await train({ graph: true, profile: { from: 2, to: 12 } })
    expect(result.hash).toBe(plain.result.hash)
    const window = read('profile-2-12.bin')
    expect(new Set(marks(window)).size).toBe(11)
    const replays = window.events.filter((event) => event.kind === 'graph' && event.deviceNs > 0)
    expect(replays.length).toBeGreaterThan(2)
  })

  it('of a run that is stopped in it holds the steps that were taken', async () => {
    const trainer = { stop: () => {} }
    const made = new Trainer({
      ...{ task, ...several(2), runsFolder: folder, run: 'r', batchSize: 8, steps: 100_000 },
      ...{ logEvery: 5, profile: { from: 3, to: 100_000 } },
      onEvent: (event) => event.kind === 'log' && event.step >= 10 && trainer.stop(),
    })
    trainer.stop = () => made.stop()
    const { steps } = await made.fit()
    expect(profiles()).toEqual([`profile-3-${steps}.bin`, `profile-3-${steps}.pftrace`])
    const newest = Math.max(...marks(read(`profile-3-${steps}.bin`)))
    expect(newest).toBe(steps)
  })

  it('that the run does not reach, or that lies before a resume, is told', async () => {
    const first = await train({ checkpoint: { everySteps: 10 }, profile: { from: 31, to: 40 } })
    expect(first.notes).toEqual(['profile   left out: the run ended before step 31'])
    const second = await train({ resume: true, steps: 40, profile: { from: 5, to: 7 } })
    expect(second.notes).toEqual([
      'profile   left out: the run goes on behind step 30, steps 5 to 7 are done',
    ])
    expect(profiles()).toEqual([])
  })

  it('refuses what is no window, and a run without a folder', () => {
    const make = (options: Partial<TrainerOptions>) => () => new Trainer({ task, ...options })
    expect(make({ profile: { from: 5, to: 4 } })).toThrow(/profile: from must not be behind to/)
    expect(make({ profile: { from: 0, to: 4 } })).toThrow(/profile\.from/)
    expect(make({ profile: { from: 1, to: 4 }, run: false })).toThrow(
      /profile needs the run's folder/,
    )
  })
})
