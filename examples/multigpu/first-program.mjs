// Four devices, one gradient and one all-reduce. Run it with `node examples/multigpu/first-program.mjs`.
import { memory, openFabric, rand, scope, tensor } from 'weft'

const fabric = await openFabric({ devices: 'host:0-3' }) // 'cuda' opens every GPU
fabric.logMode = 'basic'
const names = fabric.devices.map((device) => device.name)

// A gradient on one device: enqueued, not awaited, until a value leaves the device.
const w = tensor(
  [
    [0.1, 0.2],
    [0.3, 0.4],
  ],
  { device: 'host:0', requiresGrad: true },
)
const loss = scope(() => w.matmul(w).tanh().sum()) // what is made inside and not returned is freed
loss.backward()
console.log('loss', await loss.item(), 'gradient', await w.grad.toArray())

// A sum over all devices: each has its own memory, the group's ranks meet in native code.
const parts = names.map((device, rank) =>
  rand([1000], { device })
    .mul(0)
    .add(rank + 1),
)
await fabric.group().allReduce(parts, { op: 'sum' })
console.log('every rank holds', await Promise.all(parts.map((part) => part.mean().item())))

const { events } = fabric.snapshot({ since: 0, limit: 4096 })
console.log(events.length, 'events;', memory()['host:0'].tensors, 'tensors live on host:0')
