// Time of a training step on one device, at the sizes of bench/torch/training.py: one fixed batch on the device,
// 8 steps to warm up, then the median of 5 rounds. Prints one JSON line a workload. Run:
// npm run bench -- training [--device cuda:0] [--work reverse,vit,minigpt,gpt2-124m] [--steps 50] [--graph]
// [--tf32 off] [--precision bf16] [--batch 32]. Without --work gpt2-124m is left out; gpt2-124m-checkpoint computes
// the activations of its blocks again in the backward pass.
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import {
  allowTf32,
  captureGraph,
  manualSeed,
  memory,
  openFabric,
  scope,
  setDefaultDevice,
  synchronize,
  type Tensor,
} from 'weft'
import { count } from './training/arguments.js'
import {
  fixedBatch,
  type StepPrecision,
  stepPrecision,
  trainStep,
  type Workload,
  workload,
} from './training/workloads.js'

const warmupSteps = 8
const rounds = 5
const patience = { timeoutMs: 600_000 }

interface Settings {
  device: string
  steps: number
  batch: number
  graph: boolean
  precision: StepPrecision
}

const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1] as number
const product = (shape: readonly number[]) => shape.reduce((n, size) => n * size, 1)

/** Milliseconds a step, one sample a round. `run` takes one step. */
async function time(run: () => void, { device, steps }: Settings): Promise<number[]> {
  await synchronize(device, patience)
  const samples: number[] = []
  for (let r = 0; r < rounds; r++) {
    const start = performance.now()
    for (let i = 0; i < steps; i++) run()
    await synchronize(device, patience)
    samples.push((performance.now() - start) / steps)
  }
  return samples
}

async function measure(work: Workload, settings: Settings) {
  const { device, batch, graph, precision } = settings
  await openFabric({ devices: [device] })
  setDefaultDevice(device)
  manualSeed(0)
  const model = work.model()
  const parameters = model.parameters()
  const optimizer = work.optimizer(parameters)
  const { x, y } = fixedBatch(work, settings)

  const whole = () => trainStep(work, model, parameters, optimizer, x, y, precision)
  let loss: Tensor | undefined
  const step = () => {
    const next = scope(whole)
    loss?.dispose()
    loss = next
  }
  for (let i = 0; i < warmupSteps; i++) step()
  const captured = graph ? captureGraph(whole, { devices: device }) : undefined
  const ms = median(await time(captured ? () => captured.replay() : step, settings))
  const line = {
    work: work.name,
    mode: graph ? 'weft-graph' : 'weft',
    gpus: 1,
    precision,
    ms: Number(ms.toFixed(4)),
    per_s: Math.round((batch * product(work.target) * 1000) / ms),
    peak_mb: Math.floor((memory()[device]?.peakAllocatedBytes ?? 0) / 2 ** 20),
    loss: Number((await (captured?.result ?? (loss as Tensor)).item()).toFixed(4)),
  }
  captured?.dispose()
  return line
}

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    work: { type: 'string', default: 'reverse,vit,minigpt' },
    steps: { type: 'string' },
    batch: { type: 'string' },
    graph: { type: 'boolean', default: false },
    tf32: { type: 'string', default: 'on' },
    precision: { type: 'string', default: 'f32' },
  },
})

const works = values.work.split(',').map(workload)
if (works.length > 1) {
  // A process each: memory that one workload reached is not another's peak.
  for (const { name } of works) {
    const args = [process.argv[1] as string, ...process.argv.slice(2), `--work=${name}`]
    const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', timeout: 1_200_000 })
    if (status !== 0) process.exitCode = 1
  }
} else {
  allowTf32(values.tf32 !== 'off')
  const work = works[0] as Workload
  const line = await measure(work, {
    device: values.device,
    steps: count('steps', values.steps, 50),
    batch: count('batch', values.batch, work.batch),
    graph: values.graph,
    precision: stepPrecision(values.precision),
  })
  console.log(JSON.stringify(line))
}
