// What checkpoints cost a step: runs of a task with and without, by turns, on the same devices. Wall time from the
// first progress behind step 50 to the last step, checkpoints every 50 steps between; the last one, for which a run
// waits, lies behind. Prints one JSON line: medians over the rounds, of wall time and of the process' CPU time, which
// other programs on the machine disturb less. Run: npm run bench -- checkpoints [--task <file>]
// [--devices host:0-3] [--steps 550] [--every 50] [--batch 32] [--rounds 7] [--precision bf16] [--graph]
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Trainer, type TrainerOptions } from 'weft'
import { count } from './training/arguments.js'

const { values } = parseArgs({
  options: {
    task: { type: 'string', default: 'examples/multigpu/digits-vit.ts' },
    devices: { type: 'string', default: 'host:0-3' },
    steps: { type: 'string', default: '550' },
    every: { type: 'string', default: '50' },
    batch: { type: 'string', default: '32' },
    rounds: { type: 'string', default: '7' },
    precision: { type: 'string' },
    graph: { type: 'boolean', default: false },
  },
})
const { task, devices, graph } = values
const precision = values.precision as TrainerOptions['precision'] // which the Trainer checks
const steps = count('steps', values.steps, 1)
const every = count('every', values.every, 1)
const batchSize = count('batch', values.batch, 1)
const rounds = count('rounds', values.rounds, 1)
const warmSteps = 50
const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1] as number

interface Measured {
  ms: number
  cpuMs: number
  written: number
  bytes: number
  writeSeconds: number
}

/** Milliseconds a step of one run. */
async function run(folder: string, withCheckpoints: boolean): Promise<Measured> {
  const marks: { step: number; at: number; cpu: number }[] = []
  const cpuMs = () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  }
  const written: { bytes: number; seconds: number }[] = []
  await new Trainer({
    task,
    devices,
    steps,
    batchSize,
    graph,
    ...(precision === undefined ? {} : { precision }),
    evaluateEvery: 0,
    runsFolder: folder,
    saveWeights: false,
    ...(withCheckpoints ? { checkpoint: { everySteps: every } } : {}),
    onEvent: (event) => {
      if (event.kind === 'progress') {
        marks.push({ step: event.step, at: performance.now(), cpu: cpuMs() })
      }
      if (event.kind === 'checkpoint') written.push(event)
    },
  }).fit()
  const from = marks.find(({ step }) => step >= warmSteps)!
  const to = marks.at(-1)!
  return {
    ms: (to.at - from.at) / (to.step - from.step),
    cpuMs: (to.cpu - from.cpu) / (to.step - from.step),
    written: written.length,
    bytes: written[0]?.bytes ?? 0,
    writeSeconds: written.length === 0 ? 0 : median(written.map(({ seconds }) => seconds)),
  }
}

const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'))
try {
  const [plain, saving]: [Measured[], Measured[]] = [[], []]
  await run(folder, true) // the machine's first run is slow
  for (let round = 0; round < rounds; round++) {
    // By turns, and by turns at going first.
    for (const first of round % 2 === 0 ? [false, true] : [true, false]) {
      ;(first ? saving : plain).push(await run(folder, first))
    }
  }
  const [without, besides] = [plain, saving].map((list) => median(list.map(({ ms }) => ms)))
  const overhead = (of: 'ms' | 'cpuMs') =>
    Number((median(saving.map((each, round) => each[of] / plain[round]![of])) - 1).toFixed(4))
  const { written, bytes } = saving[0]!
  console.log(
    JSON.stringify({
      bench: 'checkpoints',
      task,
      devices,
      steps,
      every,
      batchSize,
      precision,
      graph,
      rounds,
      stepMs: Number(without!.toFixed(3)),
      stepMsWithCheckpoints: Number(besides!.toFixed(3)),
      overhead: overhead('ms'),
      cpuMs: Number(median(plain.map(({ cpuMs }) => cpuMs)).toFixed(3)),
      cpuOverhead: overhead('cpuMs'),
      checkpoints: written,
      bytes,
      writeSeconds: Number(median(saving.map((each) => each.writeSeconds)).toFixed(3)),
    }),
  )
} finally {
  rmSync(folder, { recursive: true })
}
