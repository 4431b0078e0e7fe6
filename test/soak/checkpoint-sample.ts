// A small whole checkpoint for tests and the fuzz: two files of tensors and their manifest.
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkpointName } from '../../src/checkpoint/checkpoint-folder.js'
import { type Manifest, OPTIMIZER, WEIGHTS, writeManifest } from '../../src/checkpoint/manifest.js'
import { safetensorsPieces } from '../../src/checkpoint/safetensors.js'

const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer)

/** Writes a checkpoint of `step` under `folder`; `part` replaces what a manifest says. */
export async function writeCheckpoint(
  folder: string,
  step: number,
  part: object = {},
): Promise<Manifest> {
  const path = join(folder, checkpointName(step))
  mkdirSync(path, { recursive: true })
  const file = (name: string, bytes: Uint8Array) => {
    writeFileSync(join(path, name), bytes)
    return { bytes: bytes.byteLength, sha256: createHash('sha256').update(bytes).digest('hex') }
  }
  const weights = safetensorsPieces(
    {
      'first.weight': { dtype: 'f32', shape: [2, 2], bytes: floats(step, 1, 2, 3) },
      'first.bias': { dtype: 'f32', shape: [2], bytes: floats(4, 5) },
    },
    { format: 'weft', step: String(step) },
  )
  const optimizer = safetensorsPieces({
    '0.0.first': { dtype: 'f32', shape: [2, 2], bytes: floats(6, 7, 8, step) },
  })
  const manifest: Manifest = {
    format: 'weft-checkpoint',
    version: 1,
    weft: '0.1.0',
    written: '2026-11-30T12:00:00.000Z',
    task: 'sample',
    step,
    data: { epoch: 1, batches: 3, ended: false },
    seed: 5,
    world: 2,
    devices: ['host:0', 'host:1'],
    settings: { batchSize: 16, accumulate: 1, bucketMegabytes: 25, totalSteps: 100 },
    lr: 0.01,
    random: [
      { seed: '6', offset: '1234' },
      { seed: '18446744073709551615', offset: '0' },
    ],
    optimizer: {
      kind: 'adamw',
      steps: step,
      counts: { '0.0.steps': step },
      groups: [['first.weight']],
    },
    gradientOrder: [1, 0],
    precision: 'f32',
    metrics: null,
    loss: 0.25,
    files: {
      [WEIGHTS]: file(WEIGHTS, Buffer.concat(weights)),
      [OPTIMIZER]: file(OPTIMIZER, Buffer.concat(optimizer)),
    },
    ...part,
  }
  await writeManifest(path, manifest)
  return manifest
}
