// Environments that end: with handles alive, with reads pending, by terminate(). The process goes on.
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { faults, memory, openFabric, Tensor, tensor, zeros } from 'weft'

const entry = new URL('../../dist/index.js', import.meta.url).href

/** Runs `body` in a worker: it sees weft, parentPort and workerData. */
function worker(body: string, workerData: unknown = null): Worker {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(${JSON.stringify(entry)}).then(async (weft) => { ${body} })`
  return new Worker(code, { eval: true, workerData })
}
const message = (from: Worker) =>
  new Promise<any>((resolve, reject) => {
    from.once('message', resolve)
    from.once('error', reject)
  })
const ended = (from: Worker) => new Promise<number>((resolve) => from.once('exit', resolve))

test('handles that an ended worker made are released', async () => {
  await openFabric({ devices: 'host:1' })
  const before = memory()['host:0']!.tensors
  const one = worker(`
    globalThis.held = Array.from({ length: 50 }, () => weft.zeros([10]))
    parentPort.postMessage(weft.memory()['host:0'].tensors)`)
  const during = await message(one)
  await ended(one)
  expect(during - before).toBe(50)
  expect(memory()['host:0']!.tensors).toBe(before)
})

test('a tensor handed over outlives the worker', async () => {
  const one = worker(`
    const x = weft.tensor([1, 2, 3])
    parentPort.postMessage(x.toHandle())`)
  const handle = await message(one)
  await ended(one)
  using x = Tensor.from(handle)
  expect(await x.toArray()).toEqual([1, 2, 3])
})

test('a tensor of this thread is used by a worker without a copy', async () => {
  const x = zeros([2])
  const one = worker(
    `weft.Tensor.from(workerData).add_(5)
     await weft.synchronize('host:0')
     parentPort.postMessage('done')`,
    x.toHandle(),
  )
  await message(one)
  expect(await x.toArray()).toEqual([5, 5])
  await ended(one)
})

test.each([
  ['ends', 'process.exit(0)'],
  ['is terminated', ''],
])('a worker that %s while it reads', async (_, last) => {
  faults.setDeviceDelay(0, 50_000)
  const one = worker(`
    const x = weft.zeros([1000])
    for (let i = 0; i < 20; i++) x.toArray().then(() => parentPort.postMessage('late'))
    weft.synchronize('host:0')
    parentPort.postMessage('reading')
    ${last}`)
  const exited = ended(one)
  if (last === '') {
    await message(one)
    await one.terminate()
  }
  await exited
  faults.clear()
  expect(await tensor([1]).item()).toBe(1)
})

test('hooks of an ended worker', async () => {
  const x = tensor([1, 2], { requiresGrad: true })
  const one = worker(
    `weft.Tensor.from(workerData).registerHook((grad) => grad.mul(2))
     parentPort.postMessage('hooked')`,
    x.toHandle(),
  )
  await message(one)
  await ended(one)
  expect(() => x.sum().backward()).toThrow(/thread/)
})

test('four workers each drive a rank of one group', async () => {
  const fabric = await openFabric({ devices: 'host:4' })
  using group = fabric.group()
  const workers = group.devices.map((device, rank) =>
    worker(
      `const { id, rank, device } = workerData
       const mine = weft.Group.attach(id).rank(rank)
       const x = weft.tensor([rank], { device })
       for (let step = 0; step < 50; step++) mine.allReduce(x, { op: 'avg' }).wait()
       parentPort.postMessage(await x.item())`,
      { id: group.id, rank, device },
    ),
  )
  expect(await Promise.all(workers.map(message))).toEqual([1.5, 1.5, 1.5, 1.5])
  await Promise.all(workers.map(ended))
  expect(group.stats().calls).toBe(50)
})
