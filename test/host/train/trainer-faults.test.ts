// Every way in which a rank can fail: the run ends with the named error, soon, the process lives, no
// worker is left, and the next run works.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  CollectiveTimeoutError,
  DesyncError,
  memory,
  NonFiniteLossError,
  OutOfMemoryError,
  Snapshot,
  Trainer,
  type TrainerOptions,
  tensor,
  UsageError,
  WeftError,
  WorkerError,
} from 'weft'
import { faults } from 'weft/testing'
import { DevicePool } from '../../../dist/train/device-pool.js'
import { makeControl } from '../../../dist/train/worker/control.js'
import { choicesFile, hostOnly, several, severalNames } from '../device.js'

const taskFile = (name: string) => new URL(`../tasks/${name}`, import.meta.url)

let workers: Worker[] = []
const noteWorker = (worker: Worker) => workers.push(worker)
let folder: string

beforeEach(() => {
  workers = []
  folder = mkdtempSync(join(tmpdir(), 'weft-faults-'))
  process.on('worker', noteWorker)
})

afterEach(() => {
  process.off('worker', noteWorker)
  delete process.env.WEFT_TEST_FAULT
  faults.clear()
  rmSync(folder, { recursive: true })
})

function start(fault: string, options: Partial<TrainerOptions> = {}) {
  process.env.WEFT_TEST_FAULT = fault
  return new Trainer({
    task: taskFile('faulty.mjs'),
    ...several(4),
    steps: 100,
    batchSize: 8,
    timeoutMs: 20_000,
    runsFolder: folder,
    run: 'run',
    ...options,
  })
}

/** The end of rank 3's thread is heard of only after that of the next thread, which replaces it. */
function holdExit(worker: Worker): void {
  if (workers.length !== 4) return
  const emit = worker.emit.bind(worker)
  worker.emit = (name: string | symbol, ...rest: unknown[]) => {
    const next = workers[4]
    if (name !== 'exit' || next === undefined || next.threadId === -1) return emit(name, ...rest)
    // Node forgets the listeners of a thread that has ended.
    const listeners = worker.rawListeners(name)
    const hear = () => {
      for (const listener of listeners) listener.apply(worker, rest)
    }
    next.once('exit', () => setImmediate(hear))
    return true
  }
}

/** The error that a run ends with, within the deadline, with no worker left behind. */
async function failure(trainer: Trainer, limitMs = 10_000): Promise<WeftError> {
  const started = performance.now()
  const error = await trainer.fit().then(
    () => undefined,
    (error: unknown) => error,
  )
  const took = performance.now() - started
  expect(error).toBeInstanceOf(WeftError)
  expect(took).toBeLessThan(limitMs)
  // A thread that has ended has no id.
  expect(workers.map((worker) => worker.threadId)).toEqual(workers.map(() => -1))
  requireWholeFiles()
  return error as WeftError
}

/** What a failed run leaves: its flight record, whole lines, whole JSON, no temporary file. */
function requireWholeFiles(): void {
  for (const run of readdirSync(folder)) {
    const files = readdirSync(join(folder, run))
    const whole = [
      'config.json',
      'curves.svg',
      ...choicesFile,
      'flight.bin',
      'metrics.jsonl',
      'result.json',
    ]
    expect(files.filter((file) => !whole.includes(file))).toEqual([])
    const flight = Snapshot.decode(readFileSync(join(folder, run, 'flight.bin')))
    expect(flight.events.some((event) => event.kind === 'collective_arrive')).toBe(true)
    expect(flight.groups.at(-1)!.ranks.length).toBeGreaterThan(0)
    const metrics = readFileSync(join(folder, run, 'metrics.jsonl'), 'utf8')
    expect(metrics === '' || metrics.endsWith('\n')).toBe(true)
    for (const line of metrics.split('\n').filter(Boolean)) JSON.parse(line)
  }
}

describe('a worker that fails in the middle of a step', () => {
  it('throws: WorkerError with rank, step and cause', async () => {
    const error = await failure(start('throw:2:5'))
    expect(error).toBeInstanceOf(WorkerError)
    expect(error.fields).toMatchObject({
      rank: 2,
      step: 5,
      device: severalNames(4)[2],
      cause: { name: 'RangeError', message: 'the task is broken' },
    })
    expect(error.message).toMatch(/rank 2 .*step 5.*RangeError: the task is broken/)
    expect((error.cause as Error).stack).toContain('faulty.mjs')
  })

  it.each([
    ['exits', 'exit:1:4', /exited with code: 3/],
    ['throws where nobody catches it', 'uncaught:3:4', /nobody caught this/],
  ])('%s: WorkerError with rank and step', async (_name, fault, pattern) => {
    const error = await failure(start(fault))
    expect(error).toBeInstanceOf(WorkerError)
    expect(error.message).toMatch(pattern)
    expect(error.fields.rank).toBe(Number(fault.split(':')[1]))
    expect([4, 5]).toContain(error.fields.step)
    expect(error.flightRecord).toBe(join(folder, 'run', 'flight.bin'))
  })

  it.each([
    ['exits in the capture', 'exit:1:4', /exited with code: 3/],
    ['has broken data later', 'data-throws:1:12', /the data is broken/],
  ])(
    '%s of a captured step: WorkerError, and nobody waits for it',
    async (_name, fault, pattern) => {
      const error = await failure(start(fault, { graph: true }))
      expect(error).toBeInstanceOf(WorkerError)
      expect(error.message).toMatch(pattern)
      expect(error.fields.rank).toBe(1)
      const after = await start('none', { graph: true, steps: 10, run: false }).fit()
      expect(after.replicasEqual).toBe(true)
    },
  )

  it('throws in the capture: one line, and training goes on', async () => {
    const notes: string[] = []
    const result = await start('throw:2:4', {
      graph: true,
      steps: 10,
      run: false,
      onEvent: (event) => event.kind === 'note' && notes.push(event.line),
    }).fit()
    expect(result).toMatchObject({ steps: 10, replicasEqual: true })
    expect(notes).toEqual([expect.stringMatching(/cannot be captured.*the task is broken/)])
  })

  it('ends later than the thread that replaces it: no thread is left', async () => {
    const ended = failure(start('uncaught:3:4'))
    process.on('worker', holdExit)
    const error = await ended.finally(() => process.off('worker', holdExit))
    expect(error.message).toMatch(/nobody caught this/)
    expect(workers.length).toBeGreaterThan(4)
  })

  it('is killed: WorkerError with rank and step', async () => {
    const channel = new BroadcastChannel('weft-test')
    const waiting = new Promise((resolve) => {
      channel.onmessage = resolve
    })
    const ended = failure(start('wait-to-be-killed:1:6'))
    await waiting
    channel.close()
    // Workers are started in the order of their ranks.
    await workers[1]!.terminate()
    const error = await ended
    expect(error).toBeInstanceOf(WorkerError)
    expect(error.fields).toMatchObject({ rank: 1, step: 6 })
  })

  it('was killed between two messages: WorkerError, though another thread answers', async () => {
    const pool = new DevicePool({ rank: 1, device: severalNames(2)[1]!, control: makeControl(2) })
    const nothing = { epochs: undefined, checkpoint: undefined }
    const message = { kind: 'run' as const, from: 1, count: 1, ...nothing }
    try {
      // What the pool begins in place of a thread that is gone has no replica, as one that never loaded.
      const error = await pool.send<'run'>(message).catch((error: unknown) => error)
      expect(error).toBeInstanceOf(WorkerError)
      expect((error as Error).message).toMatch(
        /^the worker of rank 1 on .* ended .* between two messages/,
      )
    } finally {
      expect(await pool.destroy(10_000)).toBe(true)
    }
  })

  it('never comes: CollectiveTimeoutError naming it, after the timeout', async () => {
    const started = performance.now()
    const error = await failure(start('hang:3:2', { timeoutMs: 1_000 }))
    expect(error).toBeInstanceOf(CollectiveTimeoutError)
    expect(error.fields.missing).toEqual([3])
    expect(error.message).toMatch(
      /rank 3 did not arrive within \d+ ms; ranks 0, 1, 2 waited together since .* UTC; rank 3 \(.*\) is before the call: it made \d+ call/,
    )
    expect(performance.now() - started).toBeGreaterThan(1_000)
  })

  it('stands still: the flight record tells who waited for whom when the run gave up', async () => {
    const error = await failure(start('hang:3:2', { stallMs: 4_000, timeoutMs: 60_000 }), 30_000)
    expect(error.message).toMatch(/nothing moved/)
    const flight = Snapshot.decode(readFileSync(join(folder, 'run', 'flight.bin')))
    const calls = flight.groups.flatMap((group) => group.open)
    const waiting = calls.find((call) => call.state === 'gathering')!
    expect(waiting.ranks.map((rank) => rank !== undefined)).toEqual([true, true, true, false])
  })

  it('is one of one, and never comes: WorkerError when nothing moves', async () => {
    const error = await failure(start('hang:0:2', { ...several(1), stallMs: 700 }))
    expect(error).toBeInstanceOf(WorkerError)
    expect(error.message).toMatch(/nothing moved/)
  })

  it.each([
    ['shapes', 'shape', 'WEFT_SHAPE'],
    ['dtypes', 'dtype', 'WEFT_DTYPE'],
    ['devices', 'device', 'WEFT_DEVICE'],
    ['disposed tensors', 'disposed', 'WEFT_DISPOSED'],
    ['writes to a saved tensor', 'version', 'WEFT_USAGE'],
    ['losses', 'not-scalar', 'WEFT_USAGE'],
  ])('makes wrong %s: the error keeps its class', async (_name, kind, code) => {
    const error = await failure(start(`${kind}:1:3`))
    expect(error.code).toBe(code)
    expect(error.fields).toMatchObject({ rank: 1, step: 3 })
  })
})

describe('a task that cannot work', () => {
  it('does not exist: UsageError with what was looked for', async () => {
    const missing = taskFile('missing.mjs')
    const error = await failure(start('none', { task: missing }))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain('missing.mjs')
    expect(readdirSync(folder)).toEqual([])
  })

  it('exports none: UsageError with what was found', async () => {
    const error = await failure(start('none', { task: taskFile('nothing.mjs') }))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toMatch(/exports no task.*answer/)
    expect(readdirSync(folder)).toEqual([])
  })

  it('has an unused parameter: UsageError with its name', async () => {
    const error = await failure(start('unused'))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain('spare')
    expect(error.fields.unused).toEqual(['spare'])
  })

  it('throws while it builds the model: WorkerError', async () => {
    const error = await failure(start('model-throws'))
    expect(error).toBeInstanceOf(WorkerError)
    expect(error.message).toContain('no such layer')
  })

  it.each([
    ['has no data', 'no-data', 'WEFT_USAGE', /no batch/],
    ['has data that throws', 'data-throws:1:3', 'WEFT_WORKER', /TypeError: the data is broken/],
    ['evaluates without a count', 'no-count', 'WEFT_USAGE', /count/],
  ])('%s', async (_name, fault, code, pattern) => {
    const error = await failure(start(fault, { steps: 10 }))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(pattern)
  })
})

describe('ranks that differ', () => {
  it('in the number of batches: DesyncError with ranks and counts', async () => {
    const error = await failure(start('data-ends:2:7'))
    expect(error).toBeInstanceOf(DesyncError)
    expect(error.message).toMatch(/unequal batch counts at step 7.*rank 2: 7/)
    expect(error.fields).toMatchObject({ ended: [2], step: 7, batches: [7, 7, 7, 7] })
  })

  it('in the size of a batch: DesyncError with ranks and sizes', async () => {
    const error = await failure(start('sizes:1:1'))
    expect(error).toBeInstanceOf(DesyncError)
    expect(error.fields).toMatchObject({ step: 1, samples: [8, 7, 8, 8] })
  })

  it('in their models: DesyncError with the first difference', async () => {
    const error = await failure(start('none', { task: taskFile('different.mjs') }))
    expect(error).toBeInstanceOf(DesyncError)
    expect(error.message).toMatch(/only\.weight.*\[3, 2\] f32 on rank 1.*\[2, 2\] f32 on rank 0/)
  })
})

describe('numbers and memory', () => {
  it('a NaN loss: NonFiniteLossError with step and rank', async () => {
    const error = await failure(start('nan:2:9'))
    expect(error).toBeInstanceOf(NonFiniteLossError)
    expect(error.fields).toMatchObject({ step: 9, rank: 2, ranks: [2] })
    expect(error.message).toMatch(/step 9: NaN on rank 2/)
  })

  const noMemory = hostOnly('it makes allocations of the driver fail')
  noMemory('no memory left: OutOfMemoryError with the rank, and other tensors stay', async () => {
    using earlier = tensor([1, 2, 3], { device: 'host:1' })
    const error = await failure(start('memory:1:3'))
    expect(error).toBeInstanceOf(OutOfMemoryError)
    expect(error.fields).toMatchObject({ rank: 1, step: 3 })
    expect(await earlier.toArray()).toEqual([1, 2, 3])
  })
})

describe('after a failed run', () => {
  it('nothing is left on the devices and the next run works', async () => {
    const before = memory()
    await failure(start('throw:0:3'))
    await failure(start('exit:3:2'))
    const result = await start('none', { steps: 5 }).fit()
    expect(result.replicasEqual).toBe(true)
    const after = memory()
    for (const [name, { tensors, bytes }] of Object.entries(before)) {
      expect(after[name]).toMatchObject({ tensors, bytes })
    }
  })
})
