// The programs that the kill tests run in processes of their own (promises.ts):
//   node child.mjs calls|uncaught|train|endless|check <device>
// Each prints one JSON object a line; `endless` runs until it is killed.
import {
  functional as F,
  full,
  memory,
  ones,
  openFabric,
  optim,
  randn,
  synchronize,
  Trainer,
  zeros,
} from 'weft'
import { faults } from 'weft/testing'

const [mode, device] = process.argv.slice(2)
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)
const record = (error) => ({ name: error.name, code: error.code, message: error.message })

/** What `call` throws or rejects with. */
async function outcome(call) {
  try {
    await call()
    return { name: 'none' }
  } catch (error) {
    return record(error)
  }
}

/** Breaks the device, then makes every kind of call. */
async function calls() {
  const fabric = await openFabric({ devices: [device] })
  const group = fabric.group()
  const x = ones([4, 4], { device })
  const w = ones([4, 4], { device }).requiresGrad_()
  w.mul(3).sum().backward() // the optimizer has something to do
  const loss = w.mul(2).sum()
  const optimizer = optim.adamw([w], { lr: 0.1 })
  await synchronize(device)
  faults.illegalAddress(device)
  print({ call: 'first wait', ...(await outcome(() => x.toArray())) })
  const every = {
    toArray: () => x.toArray(),
    item: () => loss.item(),
    add: () => x.add(1),
    matmul: () => x.matmul(x),
    softmax: () => F.softmax(x, -1),
    'in place': () => x.add_(1),
    zeros: () => zeros([2], { device }),
    full: () => full([1 << 20], 3, { device }),
    randn: () => randn([2], { device }),
    'to another device': () => x.to({ device: 'host:1' }),
    backward: () => loss.backward(),
    optimizer: () => optimizer.step(),
    synchronize: () => synchronize(device),
    allReduce: () => group.allReduce([x]).done,
    openFabric: () => openFabric({ devices: ['host:5'] }),
  }
  for (const [call, run] of Object.entries(every)) print({ call, ...(await outcome(run)) })
  // What a person needs afterwards goes on working.
  print({ call: 'memory', ...(await outcome(() => memory())) })
  print({ call: 'snapshot', ...(await outcome(() => fabric.snapshot())) })
  print({ call: 'dispose', ...(await outcome(() => x.dispose())) })
}

function trainer(options) {
  return new Trainer({
    task: new URL('../host/tasks/faulty.mjs', import.meta.url),
    devices: device.startsWith('host') ? 'host:0-1' : [device],
    batchSize: 8,
    timeoutMs: 20_000,
    run: false,
    ...options,
  })
}

/** A training that loses its device in step 5; then one more attempt in the same process. */
async function train() {
  process.env.WEFT_TEST_FAULT = 'illegal-address:0:5'
  const options = { steps: 100 }
  print({ call: 'fit', ...(await outcome(() => trainer(options).fit())) })
  await trainer(options).fit()
}

async function endless() {
  let told = false
  const onEvent = (event) => {
    if (event.kind !== 'log' || told) return
    told = true
    print({ stepping: event.step })
  }
  await trainer({ steps: 1e9, logEvery: 20, onEvent }).fit()
}

async function check() {
  const { steps, replicasEqual, loss } = await trainer({ steps: 5 }).fit()
  print({ steps, replicasEqual, finite: Number.isFinite(loss) })
}

async function uncaught() {
  faults.illegalAddress((await openFabric({ devices: [device] })).devices[0].name)
  await synchronize(device)
}

await { calls, train, endless, check, uncaught }[mode]()
