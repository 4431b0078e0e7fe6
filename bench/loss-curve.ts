// Loss curves to compare with PyTorch: builds each workload, writes its first weights and its batches, trains
// on them (f32 without TF32, or bf16 autocast) and writes the losses. bench/torch/loss_curve.py trains the same and compares. Run:
// npm run bench -- loss-curve --out <folder> [--device cuda:0] [--work …] [--steps 50] [--batch N] [--precision bf16] [--lr 3e-5]
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  allowTf32,
  disposeAll,
  manualSeed,
  openFabric,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
  UsageError,
} from 'weft'
import { type SafetensorsEntry, safetensorsPieces } from '../src/checkpoint/safetensors.js'
import { count } from './training/arguments.js'
import {
  type Model,
  type StepPrecision,
  stepPrecision,
  trainStep,
  type Workload,
  workload,
} from './training/workloads.js'

/** The parameters as a safetensors file. */
async function writeWeights(path: string, model: Model): Promise<void> {
  const entries: Record<string, SafetensorsEntry> = {}
  for (const [name, parameter] of model.namedParameters()) {
    const bytes = new Uint8Array(await parameter.bytes())
    entries[name] = { dtype: parameter.dtype, shape: [...parameter.shape], bytes }
  }
  writeFileSync(path, Buffer.concat(safetensorsPieces(entries)))
}

const bytesOf = (a: Float32Array | Int32Array) =>
  new Uint8Array(a.buffer, a.byteOffset, a.byteLength)

interface Settings {
  folder: string
  device: string
  steps: number
  batch: number
  precision: StepPrecision
  /** Learning rate; undefined: the workload's own. */
  lr: number | undefined
}

/**
 * Writes weights.safetensors, x.bin and y.bin (batch after batch, little-endian f32 or i32), losses.json and
 * workload.json, which says how to read them.
 */
async function writeCurve(work: Workload, settings: Settings) {
  const { folder, device, steps, batch, precision, lr } = settings
  mkdirSync(folder, { recursive: true })
  manualSeed(5)
  const model = work.model()
  await writeWeights(join(folder, 'weights.safetensors'), model)
  const parameters = model.parameters()
  const optimizer = work.optimizer(parameters)
  if (lr !== undefined) optimizer.lr = lr
  const batches = Array.from({ length: steps }, (_, index) => work.make(batch, index))
  writeFileSync(join(folder, 'x.bin'), Buffer.concat(batches.map(({ x }) => bytesOf(x))))
  writeFileSync(join(folder, 'y.bin'), Buffer.concat(batches.map(({ y }) => bytesOf(y))))

  const losses: number[] = []
  for (const { x, y } of batches) {
    using loss = scope(() => {
      const inputs = tensor(x, { shape: [batch, ...work.input], device })
      const targets = tensor(y, { shape: [batch, ...work.target], device })
      return trainStep(work, model, parameters, optimizer, inputs, targets, precision)
    })
    losses.push(await loss.item())
  }
  writeFileSync(join(folder, 'losses.json'), JSON.stringify(losses))
  const { name, input, target, clip } = work
  const facts = { work: name, device, steps, batch, precision, lr }
  const dtype = batches[0]?.x instanceof Float32Array ? 'f32' : 'i32'
  writeFileSync(
    join(folder, 'workload.json'),
    JSON.stringify({ ...facts, input, inputDtype: dtype, target, clip }),
  )
  optimizer.dispose()
  disposeAll(Object.values(model.stateDict()) as Tensor[])
  console.log(JSON.stringify({ ...facts, first: losses[0], last: losses.at(-1) }))
}

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    device: { type: 'string', default: 'cuda:0' },
    work: { type: 'string', default: 'reverse,vit,minigpt' },
    steps: { type: 'string' },
    batch: { type: 'string' },
    precision: { type: 'string', default: 'f32' },
    lr: { type: 'string' },
  },
})
if (values.out === undefined) throw new UsageError('--out <folder> says where to write the curves')
await openFabric({ devices: [values.device] })
setDefaultDevice(values.device)
allowTf32(false)
for (const work of values.work.split(',').map(workload)) {
  await writeCurve(work, {
    folder: join(values.out, work.name),
    device: values.device,
    steps: count('steps', values.steps, 50),
    batch: count('batch', values.batch, work.batch),
    precision: stepPrecision(values.precision),
    lr: values.lr === undefined ? undefined : Number(values.lr),
  })
}
