// A small GPT whose attention heads and hidden layers are cut over four devices, beside the same GPT on one:
// both train on the same tokens and print the same losses. Run it with `npm run example -- tensor-parallel`
// (a name of devices may follow, as in `cuda:0-3`).
import { fileURLToPath } from 'node:url'
import {
  type DistributedTensor,
  distribute,
  distributed,
  functional as F,
  type Fabric,
  keep,
  type Mesh,
  manualSeed,
  openFabric,
  optim,
  type Placement,
  randint,
  randn,
  reduceGradients,
  replicated,
  scope,
  sharded,
  type Tensor,
} from 'weft'

const [vocabulary, length, batch, width, heads, layers] = [32, 16, 4, 32, 4, 2]

/** Shape of each weight, and how it lies along the axis `model`. */
const weights: Record<string, [shape: number[], placement: Placement]> = {
  embedding: [[vocabulary, width], sharded(0)],
  norm: [[width], replicated()],
  head: [[vocabulary, width], replicated()],
}
for (let i = 0; i < layers; i++) {
  weights[`${i}.norm1`] = [[width], replicated()]
  for (const name of ['q', 'k', 'v']) weights[`${i}.${name}`] = [[width, width], sharded(0)] // by heads
  weights[`${i}.out`] = [[width, width], sharded(1)]
  weights[`${i}.norm2`] = [[width], replicated()]
  weights[`${i}.up`] = [[4 * width, width], sharded(0)]
  weights[`${i}.down`] = [[width, 4 * width], sharded(1)]
}

type Weights<T> = Record<string, T>

/** The model over the mesh: row-parallel products give terms, and whole() sums them, once a half block. */
function parallelLoss(w: Weights<DistributedTensor>, tokens: DistributedTensor) {
  const at = (name: string) => w[name] as DistributedTensor
  const whole = (x: DistributedTensor) => x.redistribute({ model: replicated() })
  const split = (x: DistributedTensor) =>
    x.reshape([batch, length, heads, width / heads]).permute([0, 2, 1, 3])
  let x = whole(distributed.embedding(at('embedding'), tokens)) // (B,T,C)
  for (let i = 0; i < layers; i++) {
    const a = distributed.rmsNorm(x, at(`${i}.norm1`))
    const [q, k, v] = ['q', 'k', 'v'].map((name) =>
      split(distributed.linear(a, at(`${i}.${name}`))),
    ) as [DistributedTensor, DistributedTensor, DistributedTensor] // (B,H,T,D), heads cut
    const y = distributed.scaledDotProductAttention(q, k, v, { causal: true })
    const joined = y.permute([0, 2, 1, 3]).reshape([batch, length, width])
    x = x.add(whole(distributed.linear(joined, at(`${i}.out`))))
    const b = distributed.rmsNorm(x, at(`${i}.norm2`))
    const hidden = distributed.linear(b, at(`${i}.up`), null, { gelu: true }) // hidden features cut
    x = x.add(whole(distributed.linear(hidden, at(`${i}.down`))))
  }
  const logits = distributed.linear(distributed.rmsNorm(x, at('norm')), at('head'))
  return distributed.crossEntropy(
    logits.reshape([batch * length, vocabulary]),
    tokens.reshape([batch * length]),
  )
}

/** The same on one device. */
function plainLoss(w: Weights<Tensor>, tokens: Tensor) {
  const at = (name: string) => w[name] as Tensor
  const split = (x: Tensor) =>
    x.reshape([batch, length, heads, width / heads]).permute([0, 2, 1, 3])
  let x = F.embedding(at('embedding'), tokens)
  for (let i = 0; i < layers; i++) {
    const a = F.rmsNorm(x, at(`${i}.norm1`))
    const [q, k, v] = ['q', 'k', 'v'].map((name) => split(F.linear(a, at(`${i}.${name}`)))) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const y = F.scaledDotProductAttention(q, k, v, { causal: true })
    x = x.add(F.linear(y.permute([0, 2, 1, 3]).reshape([batch, length, width]), at(`${i}.out`)))
    const b = F.rmsNorm(x, at(`${i}.norm2`))
    x = x.add(F.linear(F.linear(b, at(`${i}.up`), null, { gelu: true }), at(`${i}.down`)))
  }
  const logits = F.linear(F.rmsNorm(x, at('norm')), at('head'))
  return F.crossEntropy(
    logits.reshape([batch * length, vocabulary]),
    tokens.reshape([batch * length]),
  )
}

function startWeights(mesh: Mesh) {
  const plain: Weights<Tensor> = {}
  const parallel: Weights<DistributedTensor> = {}
  scope(() => {
    for (const [name, [shape, placement]] of Object.entries(weights)) {
      const start = randn(shape, { std: 0.1, device: mesh.devices[0] as string })
      const whole = shape.length === 1 ? start.add(1) : start // norms start near 1
      parallel[name] = distribute(whole, mesh, { model: placement }).requiresGrad_()
      for (const part of parallel[name].locals) keep(part)
      plain[name] = keep(whole.requiresGrad_())
    }
  })
  return { plain, parallel }
}

/** Losses step by step, of one device and of the mesh. */
export async function train(fabric: Fabric, steps: number, print = console.log) {
  using mesh = fabric.mesh({ model: fabric.devices.length })
  manualSeed(7)
  const { plain, parallel } = startWeights(mesh)
  const options = { lr: 3e-3 }
  const one = optim.adamw(Object.values(plain), options)
  const each = mesh.devices.map((_, p) =>
    optim.adamw(
      Object.values(parallel).map((weight) => weight.local(p)),
      options,
    ),
  )
  const losses: [plain: number, parallel: number][] = []
  const tokens = randint(0, vocabulary, [batch, length], { device: mesh.devices[0] as string })
  for (let step = 0; step < steps; step++) {
    const both = scope(() => {
      const a = plainLoss(plain, tokens)
      a.backward()
      one.step()
      one.zeroGrad()
      const b = parallelLoss(parallel, distribute(tokens, mesh))
      b.backward()
      reduceGradients(Object.values(parallel)) // norms and head are replicated
      for (const optimizer of each) {
        optimizer.step()
        optimizer.zeroGrad()
      }
      return [a, b.local(0)] as const
    })
    const [a, b] = [await both[0].item(), await both[1].item()]
    for (const loss of both) loss.dispose()
    losses.push([a, b])
    print(`step ${step}  one device ${a.toFixed(5)}  ${mesh} ${b.toFixed(5)}`)
  }
  print(`${parallel['0.up']}`)
  for (const optimizer of [one, ...each]) optimizer.dispose()
  for (const weight of [...Object.values(plain), ...Object.values(parallel)]) weight.dispose()
  tokens.dispose()
  return losses
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const fabric = await openFabric({ devices: process.argv[2] ?? 'host:0-3' })
  await train(fabric, 8)
}
