// What cutting gradients and optimizer state over devices gives back, and what it costs a step: one task with every rank
// holding all, and with shards, each in a process of its own, so that the peaks are of it alone. Prints a table of memory
// by device and one JSON line. Run: npm run bench -- zero [--devices host:0-3] [--virtual 4, of each GPU] [--width 1024]
// [--layers 4] [--batch 8] [--steps 12] [--bucket 4]
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Trainer, type TrainerOptions } from 'weft'
import { count } from './training/arguments.js'

const { values } = parseArgs({
  options: {
    devices: { type: 'string', default: 'host:0-3' },
    virtual: { type: 'string' },
    width: { type: 'string', default: '1024' },
    layers: { type: 'string', default: '4' },
    batch: { type: 'string', default: '8' },
    steps: { type: 'string', default: '12' },
    bucket: { type: 'string', default: '4' },
    mesh: { type: 'string' },
  },
})
const limitMs = 600_000
const meshes: Record<string, TrainerOptions['mesh']> = {
  none: undefined,
  'shard all': { shard: 'all' },
}

interface Outcome {
  hash: string
  stepMs: number
  memory: Awaited<ReturnType<Trainer['fit']>>['memory']
}

/** Trains in this process and prints what came of it. */
async function measure(mesh: TrainerOptions['mesh']): Promise<void> {
  process.env.WEFT_BENCH_WIDTH = String(count('width', values.width, 1))
  process.env.WEFT_BENCH_LAYERS = String(count('layers', values.layers, 1))
  const marks: { step: number; at: number }[] = []
  const { hash, memory } = await new Trainer({
    task: 'bench/training/tasks/wide-mlp.ts',
    devices: values.devices,
    ...(values.virtual === undefined ? {} : { virtual: count('virtual', values.virtual, 1) }),
    steps: count('steps', values.steps, 4),
    batchSize: count('batch', values.batch, 1),
    bucketMegabytes: count('bucket', values.bucket, 1),
    run: false,
    ...(mesh === undefined ? {} : { mesh }),
    onEvent: (event) => {
      if (event.kind === 'progress') marks.push({ step: event.step, at: performance.now() })
    },
  }).fit()
  // Behind the first steps, which make state and settle the order of the gradients.
  const warm = marks.find(({ step }) => step >= 3) ?? marks[0]!
  const last = marks.at(-1)!
  const stepMs = (last.at - warm.at) / Math.max(1, last.step - warm.step)
  process.stdout.write(`${JSON.stringify({ hash, stepMs, memory } satisfies Outcome)}\n`)
}

/** The same in a process of its own. */
function outcome(name: string): Outcome {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  const child = spawnSync(process.execPath, [...args, '--mesh', name], {
    timeout: limitMs,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (child.status !== 0) throw new Error(`the run with mesh ${name} ended with ${child.status}`)
  return JSON.parse(child.stdout.trim().split('\n').at(-1)!) as Outcome
}

const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1)

if (values.mesh !== undefined) {
  await measure(meshes[values.mesh])
} else {
  const outcomes = Object.keys(meshes).map((name) => ({ name, ...outcome(name) }))
  console.log('| mesh | device | parameters | gradients | optimizer state | peak | ms a step |')
  console.log('| --- | --- | --- | --- | --- | --- | --- |')
  for (const { name, memory, stepMs } of outcomes) {
    for (const use of memory) {
      const parts = [use.parameterBytes, use.gradientBytes, use.optimizerBytes, use.peakBytes]
      const cells = [name, use.device, ...parts.map(mib), stepMs.toFixed(1)]
      console.log(`| ${cells.join(' | ')} |`)
    }
  }
  const bitEqual = outcomes.every(({ hash }) => hash === outcomes[0]!.hash)
  console.log(JSON.stringify({ bench: 'zero', ...values, bitEqual, outcomes }))
}
