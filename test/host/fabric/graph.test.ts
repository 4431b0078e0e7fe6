// What captured work promises: a replay gives the bits that the same calls give without a graph,
// what cannot be captured is a named error that leaves the device usable, and a run whose step cannot
// be captured goes on without.
import { afterAll, describe, expect, it } from 'vitest'
import {
  captureGraph,
  createStream,
  currentStream,
  functional as F,
  generatorState,
  keep,
  manualSeed,
  memory,
  noGrad,
  openFabric,
  optim,
  rand,
  randn,
  scope,
  streamWait,
  synchronize,
  type Tensor,
  Trainer,
  type TrainerOptions,
  tensor,
  UsageError,
  withStream,
  zeros,
} from 'weft'
import { device, several } from '../device.js'

const fabric = await openFabric({ devices: [device] })
afterAll(() => fabric.synchronize())

/** Live tensors and blocks of the device. */
const use = () => {
  const { tensors, bytes, allocatedBytes, liveBlocks } = memory()[device]!
  return { tensors, bytes, allocatedBytes, liveBlocks }
}
const values = async (t: Tensor) => Array.from((await t.data()) as Float32Array)

describe('a captured function', () => {
  it('runs at each replay, not at the capture', async () => {
    const x = tensor([1, 2, 3], { device })
    const graph = captureGraph(() => noGrad(() => x.mul(2).add(1)), { devices: device })
    graph.replay()
    expect(await values(graph.result)).toEqual([3, 5, 7])
    noGrad(() => x.copy_(tensor([10, 20, 30], { device })))
    graph.replay()
    expect(await values(graph.result)).toEqual([21, 41, 61])
    graph.dispose()
    graph.dispose()
    expect(() => graph.replay()).toThrow(/disposed/)
    x.dispose()
    graph.result.dispose()
  })

  it('draws the random numbers that the same calls draw without a graph', async () => {
    const draw = () =>
      noGrad(() => [rand([1000], { device }), F.dropout(randn([500], { device }), 0.3)] as const)
    manualSeed(11, device)
    const eager: number[][] = []
    for (let i = 0; i < 3; i++) for (const t of draw()) eager.push(await values(t))
    const after = generatorState(device)
    manualSeed(11, device)
    const graph = captureGraph(draw, { devices: device })
    const replayed: number[][] = []
    for (let i = 0; i < 3; i++) {
      graph.replay()
      for (const t of graph.result) replayed.push(await values(t))
    }
    expect(replayed).toEqual(eager)
    expect(generatorState(device)).toEqual(after)
    graph.dispose()
  })

  it('never writes to eager tensors of a user stream that was part of it', async () => {
    const side = createStream(device)
    const x = zeros([1000], { device })
    const graph = captureGraph(
      () =>
        noGrad(() => {
          const main = currentStream(device)
          streamWait(side, main)
          const sum = withStream(side, () => x.add(1).mul(2).add(3).sum())
          streamWait(main, side)
          return sum
        }),
      { devices: device },
    )
    const eager = withStream(side, () => noGrad(() => zeros([8, 1000], { device }).add(7)))
    await synchronize(device)
    graph.replay()
    expect(await values(graph.result)).toEqual([5000])
    expect(new Set(await values(eager))).toEqual(new Set([7]))
    graph.dispose()
    for (const t of [graph.result, eager, x]) t.dispose()
  })

  it('gives its memory back', async () => {
    await fabric.synchronize()
    const before = use()
    const graph = captureGraph(() => noGrad(() => zeros([1 << 20], { device }).add(1)), {
      devices: device,
    })
    graph.replay()
    graph.result.dispose()
    graph.dispose()
    expect(use()).toEqual(before)
  })
})

type Make = (parameters: Tensor[]) => { lr: number; step(): void; dispose(): void }
const optimizers: [string, Make][] = [
  ['adamw', (p) => optim.adamw(p, { lr: 1e-2, weightDecay: 0.1 })],
  ['sgd with momentum', (p) => optim.sgd(p, { lr: 1e-2, momentum: 0.9, nesterov: true })],
]

describe.each(optimizers)('a captured training step with %s', (_, make) => {
  it('gives the bits of eager steps, with a changing learning rate', async () => {
    const rate = (step: number) => 1e-2 / (1 + step)
    const train = async (graphed: boolean) => {
      manualSeed(3, device)
      const w = keep(randn([16, 16], { device }).requiresGrad_())
      const x = randn([32, 16], { device })
      const optimizer = make([w])
      const step = () => {
        const loss = F.dropout(x.matmul(w).tanh(), 0.2).pow(2).mean()
        loss.backward()
        optimizer.step()
        w.zeroGrad()
        return loss.detach()
      }
      const losses: number[][] = []
      let graph: ReturnType<typeof captureGraph<Tensor>> | undefined
      for (let i = 0; i < 8; i++) {
        optimizer.lr = rate(i)
        if (graphed && i >= 2) {
          graph ??= captureGraph(step, { devices: device })
          graph.replay()
          losses.push(await values(graph.result))
        } else {
          const loss = scope(step)
          losses.push(await values(loss))
          loss.dispose()
        }
      }
      const out = { losses, weights: await values(w) }
      graph?.dispose()
      optimizer.dispose()
      return out
    }
    expect(await train(true)).toEqual(await train(false))
  })
})

describe('what cannot be captured', () => {
  const x = tensor([1, 2, 3], { device })
  const captured = (body: () => void) => captureGraph(body, { devices: device })
  const works = async () => expect(await values(noGrad(() => x.add(1)))).toEqual([2, 3, 4])
  const cases: [string, () => void, RegExp][] = [
    ['host data', () => tensor([1], { device }), /host data cannot be part of a captured step/],
    ['seeding', () => manualSeed(1, device), /seeding the generator cannot be part/],
    ['a second capture', () => captured(() => {}), /another capture cannot be part/],
    ['a first step of adamw', firstStep, /take a step before the capture/],
  ]
  it.each(cases)('%s is a UsageError, and the device works on', async (_, body, message) => {
    expect(() => captured(body)).toThrow(UsageError)
    expect(() => captured(body)).toThrow(message)
    await works()
  })

  it('reading a value is a UsageError, and the device works on', async () => {
    let read: Promise<unknown> = Promise.resolve()
    const body = () => {
      read = x.data()
      read.catch(() => {})
    }
    captured(body).dispose()
    await expect(read).rejects.toThrow(/reading a value cannot be part of a captured step/)
    await works()
  })

  it('waiting for the device is a UsageError, and the device works on', async () => {
    let waited: Promise<unknown> = Promise.resolve()
    const body = () => {
      waited = synchronize(device)
      waited.catch(() => {})
    }
    captured(body).dispose()
    await expect(waited).rejects.toThrow(/waiting for a device cannot be part of a captured step/)
    await works()
  })

  it('collectives of a capture are forgotten like others, however many', async () => {
    const group = fabric.group()
    const many = () => {
      for (let i = 0; i < 1100; i++) group.allReduce([x])
    }
    captured(many).dispose()
    many()
    await group.allReduce([x]).done
    group.dispose()
    await works()
  })

  it('waiting for a collective is a UsageError, and the group works on', async () => {
    const group = fabric.group()
    let waited: Promise<unknown> = Promise.resolve()
    const body = () => {
      waited = group.allReduce([x]).done
      waited.catch(() => {})
    }
    captured(body).dispose()
    await expect(waited).rejects.toThrow(UsageError)
    await group.allReduce([x]).done
    group.dispose()
    await works()
  })
})

function firstStep(): void {
  const w = zeros([2], { device }).requiresGrad_()
  w.sum().backward()
  optim.adamw([w], { lr: 1 }).step()
}

const task = new URL('../tasks/regression.mjs', import.meta.url)
const dropouts = new URL('../tasks/dropout.mjs', import.meta.url)
const reading = new URL('../tasks/reading.mjs', import.meta.url)

async function trained(options: Partial<TrainerOptions>) {
  const notes: string[] = []
  const result = await new Trainer({
    task,
    steps: 40,
    seed: 5,
    batchSize: 16,
    run: false,
    onEvent: (event) => event.kind === 'note' && notes.push(event.line),
    ...options,
  }).fit()
  return { result, notes }
}

describe.each([1, 4])('Trainer({ graph: true }) on %i devices', (count) => {
  const devices = several(count)

  it.each([
    ['a regression', task, {}],
    ['dropout and clipping', dropouts, { clipNorm: 0.5 }],
    ['accumulation', task, { accumulate: 2 }],
  ] as const)('gives the bits of eager steps: %s', async (_, module, options) => {
    const eager = await trained({ ...devices, task: module, ...options })
    const graphed = await trained({ ...devices, task: module, graph: true, ...options })
    expect(graphed.notes).toEqual([expect.stringMatching(/step captured after 3 steps/)])
    expect(graphed.result.losses).toEqual(eager.result.losses)
    expect(graphed.result.hash).toBe(eager.result.hash)
    expect(graphed.result.replicasEqual).toBe(true)
    expect(eager.notes).toEqual([])
  })

  it('trains on with one line when the task cannot be captured', async () => {
    const eager = await trained({ ...devices, task: reading })
    const graphed = await trained({ ...devices, task: reading, graph: true })
    expect(graphed.notes).toEqual([
      expect.stringMatching(/cannot be captured, training goes on without: .*host data/),
    ])
    expect(graphed.result.hash).toBe(eager.result.hash)
  })
})
