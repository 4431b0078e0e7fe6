// A captured step of several devices promises the bits of the called one, however often it is replayed: 1,000 steps of
// data-parallel training with every float collective in them, once called and once captured.
import { expect, test } from 'vitest'
import {
  captureGraph,
  collectives,
  functional as F,
  type Graph,
  type Group,
  manualSeed,
  nn,
  noGrad,
  openFabric,
  optim,
  randn,
  scope,
  type Tensor,
} from 'weft'
import { several } from '../device.js'

const [ranks, steps, warmup] = [4, 1000, 3]
const fabric = await openFabric(several(ranks))
const names = fabric.devices.slice(0, ranks).map(({ name }) => name)

/** One step of all ranks; the mean loss that every rank holds. */
function makeStep(group: Group, models: nn.Module[], optimizers: optim.Optimizer[], x: Tensor[]) {
  return () => {
    const losses = models.map((model, r) =>
      model
        .forward(x[r] as Tensor)
        .pow(2)
        .mean(),
    )
    for (const loss of losses) loss.backward()
    const gradients = models.map((model) => model.parameters().map((p) => p.grad as Tensor))
    return noGrad(() => {
      gradients[0]?.forEach((_, p) => {
        group.allReduce(
          gradients.map((of) => of[p] as Tensor),
          { op: 'avg' },
        )
      })
      for (const optimizer of optimizers) optimizer.step()
      for (const model of models) model.zeroGrad()
      // The next inputs, from all ranks': a reduce-scatter, an all-gather and an all-to-all over them.
      const parts = collectives.reduceScatter(
        group,
        x.map((each) => F.cat(x.map(() => each))),
      )
      const all = collectives.allGather(group, parts)
      const mixed = collectives.allToAll(group, all)
      x.forEach((each, r) => {
        const turned = (mixed[r] as Tensor).narrow(0, 0, each.size(0))
        each.copy_(
          turned
            .mul(0.9 / ranks)
            .add(each.mul(0.1))
            .tanh(),
        )
      })
      return collectives.allReduce(
        group,
        losses.map((loss) => loss.detach()),
        { op: 'avg' },
      )
    })
  }
}

async function train(captured: boolean): Promise<{ losses: number[]; weights: number[][] }> {
  const group = fabric.group(names)
  const models = names.map((device) => {
    manualSeed(11, device)
    return new nn.Sequential(
      new nn.Linear(24, 40, { device }),
      new nn.GELU(),
      new nn.LayerNorm(40, { device }),
      new nn.Linear(40, 24, { device }),
    )
  })
  const x = names.map((device, r) => {
    manualSeed(100 + r, device)
    return randn([17, 24], { device })
  })
  const optimizers = models.map((model) => optim.adamw(model.parameters(), { lr: 1e-3 }))
  const step = makeStep(group, models, optimizers, x)
  const losses: number[] = []
  let graph: Graph<Tensor[]> | undefined
  for (let i = 0; i < steps + warmup; i++) {
    if (captured && i >= warmup) {
      graph ??= captureGraph(step, { devices: names })
      graph.replay()
      losses.push(await ((graph.result[i % ranks] as Tensor).item() as Promise<number>))
    } else {
      const of = scope(step)
      losses.push((await (of[i % ranks] as Tensor).item()) as number)
      for (const each of of) each.dispose()
    }
  }
  const weights = await Promise.all(
    models
      .flatMap((model) => model.parameters())
      .map(async (p) => Array.from(await p.data(), Number)),
  )
  graph?.dispose()
  for (const each of [...optimizers, ...models, ...x, group]) each.dispose()
  return { losses, weights }
}

test('1,000 replays of a step with collectives give the bits of 1,000 called steps', async () => {
  const called = await train(false)
  const replayed = await train(true)
  expect(replayed.losses).toEqual(called.losses)
  expect(replayed.weights).toEqual(called.weights)
  expect(new Set(called.losses).size).toBeGreaterThan(steps / 2)
}, 120_000)
