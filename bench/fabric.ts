// Host time of the fabric's own work, on host devices: one event record with eight threads writing, a
// snapshot of 1024 events, the call of the last of eight ranks (which launches for all), an all-reduce
// over two devices called by one thread. Medians; prints a table and one JSON line. Run:
// npm run bench -- fabric [--seconds 1] [--devices cuda:0,cuda:1 --plugin ringallreduce]: the devices of the last row;
// [--virtual 2]: parts of each GPU among them.
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type Fabric, openFabric, zeros } from 'weft'
import { count } from './training/arguments.js'

const writers = 8
const eventsAtATime = 2_000
const now = () => Number(process.hrtime.bigint())
const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1] as number

/** Nanoseconds a record, median over all batches of all writers. */
async function measureRecords(seconds: number): Promise<number> {
  const start = new SharedArrayBuffer(4)
  const threads = Array.from(
    { length: writers },
    () => new Worker(fileURLToPath(import.meta.url), { workerData: { seconds, start } }),
  )
  const costs = await Promise.all(
    threads.map(
      (thread) =>
        new Promise<number[]>((resolve, reject) => {
          thread.once('message', resolve)
          thread.once('error', reject)
        }),
    ),
  )
  return median(costs.flat())
}

/** One writer: waits until all are there, then writes. */
async function runWriter(): Promise<void> {
  const fabric = await openFabric({ devices: 'host:0' })
  const { seconds, start } = workerData
  const here = new Int32Array(start)
  Atomics.add(here, 0, 1)
  while (Atomics.load(here, 0) < writers) Atomics.wait(here, 0, Atomics.load(here, 0), 10)
  const costs: number[] = []
  for (const end = now() + seconds * 1e9; now() < end; ) {
    costs.push(fabric.measureLogCost(eventsAtATime))
  }
  parentPort?.postMessage(costs)
}

function measureSnapshots(fabric: Fabric, seconds: number): number {
  fabric.measureLogCost(2_048)
  const samples: number[] = []
  for (const end = now() + seconds * 1e9; now() < end; ) {
    const start = now()
    fabric.snapshot({ limit: 1024 })
    samples.push(now() - start)
  }
  return median(samples)
}

/** Host time of the last rank's call; each call is over before the next. */
async function measureLastArriver(seconds: number): Promise<number> {
  const fabric = await openFabric({ devices: 'host:0-7' })
  using group = fabric.group()
  const tensors = group.devices.map((device) => zeros([16], { device }))
  const ranks = tensors.map((_, r) => group.rank(r))
  const samples: number[] = []
  for (const end = now() + seconds * 1e9; now() < end; ) {
    for (let r = 0; r < 7; r++) ranks[r]!.allReduce(tensors[r]!)
    const start = now()
    const work = ranks[7]!.allReduce(tensors[7]!)
    samples.push(now() - start)
    await work
  }
  return median(samples.slice(samples.length >> 2))
}

async function measureAllReduce(
  seconds: number,
  devices: string,
  plugins: string[],
  virtual?: number,
): Promise<number> {
  const fabric = await openFabric({ devices, plugins, ...(virtual ? { virtual } : {}) })
  using group = fabric.group()
  const tensors = group.devices.map((device) => zeros([16], { device }))
  const samples: number[] = []
  for (const end = now() + seconds * 1e9; now() < end; ) {
    const start = now()
    const work = group.allReduce(tensors)
    samples.push(now() - start)
    await work
  }
  return median(samples.slice(samples.length >> 2))
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '1' },
      devices: { type: 'string', default: 'host:0-1' },
      plugin: { type: 'string', multiple: true, default: [] },
      virtual: { type: 'string' },
    },
  })
  const seconds = Number(values.seconds)
  const fabric = await openFabric({ devices: 'host:0', log: 'basic' })
  const eventNs = await measureRecords(seconds)
  const snapshotUs = measureSnapshots(fabric, seconds) / 1e3
  fabric.logMode = 'off'
  const lastArriverUs = (await measureLastArriver(seconds)) / 1e3
  const virtual = values.virtual === undefined ? undefined : count('virtual', values.virtual, 1)
  const allReduceUs =
    (await measureAllReduce(seconds, values.devices, values.plugin, virtual)) / 1e3
  const rows: [string, number, string, number][] = [
    [`event record, ${writers} threads writing`, eventNs, 'ns', 50],
    ['snapshot of 1024 events', snapshotUs, 'us', 100],
    ['last of 8 host ranks launches', lastArriverUs, 'us', 20],
    [`all-reduce over ${values.devices} enqueued`, allReduceUs, 'us', 10],
  ]
  for (const [name, value, unit, goal] of rows) {
    console.log(`${name.padEnd(44)} ${value.toFixed(1).padStart(8)} ${unit}   goal ${goal} ${unit}`)
  }
  console.log(JSON.stringify({ eventNs, snapshotUs, lastArriverUs, allReduceUs }))
}

if (isMainThread) await main()
else await runWriter()
