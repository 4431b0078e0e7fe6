// Operators of plugins in event snapshots, in the stream of events and in `weft inspect`, by their own
// names; and in captured steps.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect } from 'vitest'
import {
  captureGraph,
  type Fabric,
  keep,
  noGrad,
  openFabric,
  ops,
  optim,
  Snapshot,
  type Tensor,
  tensor,
  zeros,
} from 'weft'
import { canCompile, compilePlugin, fixture, hostPluginTest as test } from './compiled-plugin.js'

const main = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'weft-plugin-log-'))
const device = 'host:0'
const add = (a: Tensor, b: Tensor, options = {}) => ops.demo!.scaled_add!(a, b, options) as Tensor

let fabric: Fabric
let library: string
beforeAll(async () => {
  if (!canCompile) return
  library = compilePlugin(folder, fixture('scaled_add.c'))
  fabric = await openFabric({ devices: device })
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('events name them ns.op, after unloading and in a snapshot file too', async () => {
  fabric.loadPlugin(library)
  fabric.logMode = 'timing'
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  const a = tensor([1, 2, 3], { device, requiresGrad: true })
  add(a, a, { alpha: 2 }).sum().backward()
  await fabric.synchronize()
  fabric.unloadPlugin('scaled-add')
  const { bytes, nextSequence: end } = fabric.snapshot({ since: nextSequence })
  const followed: (string | undefined)[] = []
  for await (const { name, sequence } of fabric.events({ since: nextSequence })) {
    followed.push(name)
    if (sequence >= end - 1) break
  }
  fabric.logMode = 'off'
  const names = Snapshot.decode(bytes).events.map(({ name }) => name)
  expect(names).toContain('demo.scaled_add')
  expect(names).toContain('demo.scaled_add.backward')
  expect(followed).toEqual(names)

  const path = join(folder, 'snapshot.bin')
  writeFileSync(path, new Uint8Array(bytes))
  const inspect = (...args: string[]) =>
    spawnSync(process.execPath, [main, 'inspect', path, ...args], {
      encoding: 'utf8',
      timeout: 60_000,
    }).stdout
  expect(inspect()).toMatch(/^ *demo\.scaled_add: 1 times, /m)
  const { operators } = JSON.parse(inspect('--json'))
  expect(operators).toContainEqual({
    ...{ name: 'demo.scaled_add.backward', calls: 1 },
    ns: expect.any(Number),
  })
})

test('memory that one allocated carries its name', () => {
  fabric.loadPlugin(library)
  using a = zeros([100_000], { device })
  using made = add(a, a)
  const blocks = fabric.memorySnapshot(device).flatMap((segment) => segment.blocks)
  const mine = blocks.filter(({ state, operator }) => state === 'live' && operator !== undefined)
  expect(mine.map(({ operator }) => operator)).toContain('demo.scaled_add')
  expect(made.shape).toEqual([100_000])
  fabric.unloadPlugin('scaled-add')
})

test('a captured step with one gives the bits of eager steps, also once its plugin is unloaded', async () => {
  const train = async (graphed: boolean) => {
    fabric.loadPlugin(library)
    const w = keep(tensor([0.5, -1, 2, 0.25], { device, requiresGrad: true }))
    const x = tensor([1, 2, -1, 3], { device })
    const optimizer = optim.sgd([w], { lr: 0.05, momentum: 0.9 })
    const step = () => {
      const loss = add(w.mul(x), w, { alpha: 3 }).pow(2).mean()
      loss.backward()
      optimizer.step()
      w.zeroGrad()
      return loss.detach()
    }
    const losses = [await step().item()] // eager on both sides: it makes gradient and momentum
    const graph = graphed ? captureGraph(step, { devices: device }) : undefined
    if (graphed) fabric.unloadPlugin('scaled-add')
    for (let i = 0; i < 4; i++) {
      graph?.replay()
      losses.push(await (graph?.result ?? step()).item())
    }
    const end = await w.toArray()
    graph?.dispose()
    if (!graphed) fabric.unloadPlugin('scaled-add')
    return { losses, end }
  }
  const eager = await train(false)
  expect(eager.losses[4]).not.toBe(eager.losses[3])
  expect(await train(true)).toEqual(eager)
})

test('a replay sees what its inputs hold then', async () => {
  fabric.loadPlugin(library)
  const x = tensor([1, 2], { device })
  const graph = captureGraph(() => noGrad(() => add(x, x, { alpha: 10 })), { devices: device })
  graph.replay()
  expect(await graph.result.toArray()).toEqual([11, 22])
  noGrad(() => x.copy_(tensor([3, 4], { device })))
  graph.replay()
  expect(await graph.result.toArray()).toEqual([33, 44])
  graph.dispose()
  fabric.unloadPlugin('scaled-add')
})
