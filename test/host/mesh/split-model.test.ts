// Models split over devices: backward passes of several threads at once over the same parameters, and no pass that
// waits for a device on the host.
import { Worker } from 'node:worker_threads'
import { afterEach, beforeAll, expect, test } from 'vitest'
import {
  ColumnParallelLinear,
  distribute,
  type Fabric,
  nn,
  openFabric,
  optim,
  RowParallelLinear,
  reduceGradients,
  type Tensor,
  tensor,
} from 'weft'
import { faults } from 'weft/testing'
import { hostOnly, several } from '../device.js'
import { numbers } from './reference.js'

let fabric: Fabric
let names: string[]
beforeAll(async () => {
  fabric = await openFabric(several(2))
  names = fabric.devices.map(({ name }) => name)
})
afterEach(() => faults.clear())

const entry = new URL('../../../dist/index.js', import.meta.url).href
const threads = 3
const passes = 10

/** Runs passes through weights on two devices; in the first one a hook stays inside until all threads are there. */
const body = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { names, handles, inside, threads, passes, scale } = workerData
  import(${JSON.stringify(entry)}).then(async ({ Tensor, tensor, scope, synchronize }) => {
    const [first, second] = handles.map((handle) => Tensor.from(handle))
    const cell = new Int32Array(inside)
    let met = false
    for (let pass = 0; pass < passes; pass++) {
      scope(() => {
        const x = tensor([scale, 2 * scale], { device: names[0] })
        const hidden = x.mul(first)
        if (pass === 0) {
          hidden.registerHook(() => {
            Atomics.add(cell, 0, 1)
            Atomics.notify(cell, 0)
            const end = Date.now() + 20_000
            for (let n = Atomics.load(cell, 0); n < threads && Date.now() < end; n = Atomics.load(cell, 0)) {
              Atomics.wait(cell, 0, n, end - Date.now())
            }
            met = Atomics.load(cell, 0) === threads
          })
        }
        hidden.to({ device: names[1] }).mul(second).to({ device: names[0] }).sum().backward()
      })
    }
    for (const name of names) await synchronize(name)
    parentPort.postMessage(met)
  })`

test('threads go back through one split model at the same time, and its gradients are the sum of all', async () => {
  const first = tensor([3, 5], { device: names[0]!, requiresGrad: true })
  const second = tensor([7, 11], { device: names[1]!, requiresGrad: true })
  const inside = new SharedArrayBuffer(4)
  const workers = Array.from({ length: threads }, (_, i) => {
    const handles = [first.toHandle(), second.toHandle()]
    const workerData = { names, handles, inside, threads, passes, scale: i + 1 }
    return new Worker(body, { eval: true, workerData })
  })
  const met = await Promise.all(
    workers.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.once('message', resolve)
          worker.once('error', reject)
        }),
    ),
  )
  await Promise.all(workers.map((worker) => worker.terminate()))
  expect(met).toEqual(workers.map(() => true)) // all were inside a pass at one moment
  const inputs = passes * (1 + 2 + 3)
  expect(await first.grad!.toArray()).toEqual([inputs * 7, inputs * 2 * 11])
  expect(await second.grad!.toArray()).toEqual([inputs * 3, inputs * 2 * 5])
})

/** What the host waited for during `step`, with the devices slow; and that the count counts. */
async function hostWaits(step: () => void): Promise<void> {
  await fabric.synchronize()
  for (const [ordinal] of names.entries()) faults.setDeviceDelay(ordinal, 500)
  const before = faults.hostWaits()
  step()
  expect(faults.hostWaits() - before).toBe(0)
  faults.clear()
  await fabric.synchronize()
}

hostOnly('slows devices down')(
  'a pipeline step over two devices waits for none of them on the host',
  async () => {
    const stages = names.map((device) => new nn.Linear(4, 4).to({ device }))
    const x = tensor(numbers([3, 4]), { shape: [3, 4], device: names[0]! })
    const optimizers = stages.map((stage) => optim.adamw(stage.parameters(), { lr: 1e-2 }))
    const step = () => {
      const hidden = stages[0]!.forward(x).relu()
      stages[1]!
        .forward(hidden.to({ device: names[1]! }))
        .sum()
        .backward()
      for (const optimizer of optimizers) optimizer.step()
    }
    step() // makes the moments
    await hostWaits(step)
    for (const each of [...stages, ...optimizers]) each.dispose()
  },
)

hostOnly('slows devices down')(
  'a tensor-parallel step, its gradients summed over copies, waits for no device on the host',
  async () => {
    using mesh = fabric.mesh({ model: 2 })
    using up = new ColumnParallelLinear(mesh, 3, 4, { axis: 'model', gelu: true })
    using down = new RowParallelLinear(mesh, 4, 3, { axis: 'model' })
    const model = new nn.Sequential(up, down)
    const optimizers = names.map((name) =>
      optim.adamw(
        model.parameters().filter(({ device }) => device === name),
        { lr: 1e-2 },
      ),
    )
    const x = tensor(numbers([5, 3]), { shape: [5, 3], device: names[0]! })
    const step = () => {
      const y = model.forward(distribute(x, mesh) as unknown as Tensor)
      y.mul(y).sum().backward()
      reduceGradients(model)
      for (const optimizer of optimizers) optimizer.step()
    }
    step()
    await hostWaits(step)
    for (const optimizer of optimizers) optimizer.dispose()
  },
)
