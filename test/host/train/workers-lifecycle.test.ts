// Environments that end: with handles alive, with reads pending, by terminate(). The process goes
// on.
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { memory, openFabric, setDefaultDevice, Tensor, tensor, zeros } from 'weft'
import { faults } from 'weft/testing'
import { device, ordinal, several } from '../device.js'

setDefaultDevice(device)
const entry = new URL('../../../dist/index.js', import.meta.url).href

/** Runs `body` in a worker: it sees weft, parentPort and workerData. */
function start(body: string, workerData: unknown = null) {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(${JSON.stringify(entry)}).then(async (weft) => {
      weft.setDefaultDevice('${device}')
      ${body}
    })`
  const worker = new Worker(code, { eval: true, workerData })
  // Listening from the start: a fast worker may be gone before the test asks.
  const message = new Promise<never>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  message.catch(() => {})
  const exit = new Promise<number>((resolve) => worker.once('exit', resolve))
  return { worker, message, exit }
}

test('handles that an ended worker made are released', async () => {
  await openFabric(several(1))
  const before = memory()[device]!.tensors
  const one = start(`
    globalThis.held = Array.from({ length: 50 }, () => weft.zeros([10]))
    parentPort.postMessage(weft.memory()['${device}'].tensors)`)
  const during = await one.message
  await one.exit
  expect(during - before).toBe(50)
  expect(memory()[device]!.tensors).toBe(before)
})

test('a tensor handed over outlives the worker', async () => {
  const one = start(`
    const x = weft.tensor([1, 2, 3])
    parentPort.postMessage(x.toHandle())`)
  const handle = await one.message
  await one.exit
  using x = Tensor.from(handle)
  expect(await x.toArray()).toEqual([1, 2, 3])
})

test('a tensor of this thread is used by a worker without a copy', async () => {
  const x = zeros([2])
  const one = start(
    `weft.Tensor.from(workerData).add_(5)
     await weft.synchronize('${device}')
     parentPort.postMessage('done')`,
    x.toHandle(),
  )
  await one.message
  expect(await x.toArray()).toEqual([5, 5])
  await one.exit
})

test.each([
  ['ends', 'process.exit(0)'],
  ['is terminated', ''],
])('a worker that %s while it reads', async (_, last) => {
  faults.setDeviceDelay(ordinal, 50_000)
  const one = start(`
    const x = weft.zeros([1000])
    for (let i = 0; i < 20; i++) x.toArray().then(() => parentPort.postMessage('late'))
    weft.synchronize('${device}')
    parentPort.postMessage('reading')
    ${last}`)
  if (last === '') {
    await one.message
    await one.worker.terminate()
  }
  await one.exit
  faults.clear()
  expect(await tensor([1]).item()).toBe(1)
})

test('hooks of an ended worker', async () => {
  const x = tensor([1, 2], { requiresGrad: true })
  const one = start(
    `weft.Tensor.from(workerData).registerHook((grad) => grad.mul(2))
     parentPort.postMessage('hooked')`,
    x.toHandle(),
  )
  await one.message
  await one.exit
  expect(() => x.sum().backward()).toThrow(/thread/)
})

test('four workers each drive a rank of one group', async () => {
  const fabric = await openFabric(several(4))
  using group = fabric.group()
  const workers = group.devices.map((device, rank) =>
    start(
      `const { id, rank, device } = workerData
       const mine = weft.Group.attach(id).rank(rank)
       const x = weft.tensor([rank], { device })
       for (let step = 0; step < 50; step++) mine.allReduce(x, { op: 'avg' }).wait()
       parentPort.postMessage(await x.item())`,
      { id: group.id, rank, device },
    ),
  )
  expect(await Promise.all(workers.map((each) => each.message))).toEqual([1.5, 1.5, 1.5, 1.5])
  await Promise.all(workers.map((each) => each.exit))
  expect(group.stats().calls).toBe(50)
})
