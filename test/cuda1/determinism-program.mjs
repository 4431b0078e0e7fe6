// One process of test/cuda1/determinism.test.ts: products of many shapes, forward and backward, eager and
// captured, on the device of argv[2] with the options of argv[3] (JSON, for openFabric). Prints one JSON line:
// the policy, a hash of all results, whether replays gave the same bits, and the choices used.
import { createHash } from 'node:crypto'
import { captureGraph, functional as F, manualSeed, openFabric, randn } from '../../dist/index.js'

const [, , device, options] = process.argv
const fabric = await openFabric({ devices: [device], ...JSON.parse(options) })
manualSeed(7)

// Shapes with a deep k and few tiles, where splits compete, and ones with many tiles.
const shapes = [
  [128, 256, 16384],
  [64, 512, 8192],
  [320, 768, 2048],
  [2048, 1024, 512],
  [1024, 1024, 1024],
]

async function hashOf(tensors) {
  const hash = createHash('sha256')
  for (const each of tensors) hash.update(new Uint8Array(await each.bytes()))
  return hash.digest('hex')
}

const all = createHash('sha256')
let capturedAlike = true
for (const dtype of ['bf16', 'f32', 'f16']) {
  for (const [m, n, k] of shapes) {
    const x = randn([m, k], { device, dtype, requiresGrad: true })
    const w = randn([n, k], { device, dtype, requiresGrad: true })
    const y = F.linear(x, w)
    y.sum().backward()
    const eager = await hashOf([y, x.grad, w.grad])
    all.update(eager)
    const [a, b] = [x.detach(), w.detach()]
    const graph = captureGraph(() => F.linear(a, b), { devices: device })
    graph.replay()
    capturedAlike &&= (await hashOf([graph.result])) === (await hashOf([y]))
    graph.result.dispose()
    graph.dispose()
    for (const each of [a, b, x, w, y]) each.dispose()
  }
}
process.stdout.write(
  `${JSON.stringify({
    deterministic: fabric.deterministic,
    snapshot: fabric.snapshot().deterministic,
    hash: all.digest('hex'),
    capturedAlike,
    choices: fabric.gemmChoices(),
  })}\n`,
)
