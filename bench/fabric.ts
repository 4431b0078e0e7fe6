// Host time of the fabric's own work, on host devices: one event record with one and with eight threads
// writing (at one time, where there are eight cores: the line tells how many there are), a snapshot of 1024
// events, the first one after eight threads filled their rings, the call of the last of eight ranks (which
// launches for all), an all-reduce over two devices called by one thread. Medians; prints a table and one JSON line. Run:
// npm run bench -- fabric [--seconds 1] [--devices cuda:0,cuda:1 --plugin ringallreduce]: the devices of the last row;
// [--virtual 2]: parts of each GPU among them.
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type Fabric, openFabric, zeros } from 'weft'
import { count } from './training/arguments.js'

const most = 8
const rounds = 40
const self = fileURLToPath(import.meta.url)
const eventsAtATime = 2_000
const now = () => Number(process.hrtime.bigint())
const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1] as number

/** Nanoseconds a record, median over all batches of all writers. */
async function measureRecords(writers: number, seconds: number): Promise<number> {
  const start = new SharedArrayBuffer(4)
  const threads = Array.from(
    { length: writers },
    () => new Worker(self, { workerData: { writers, seconds, start } }),
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
  const { writers, seconds, start } = workerData
  const here = new Int32Array(start)
  Atomics.add(here, 0, 1)
  while (Atomics.load(here, 0) < writers) Atomics.wait(here, 0, Atomics.load(here, 0), 10)
  const costs: number[] = []
  for (const end = now() + seconds * 1e9; now() < end; ) {
    costs.push(fabric.measureLogCost(eventsAtATime))
  }
  parentPort?.postMessage(costs)
}

/** Nanoseconds of the first snapshot of 1024 events after eight threads filled their rings. */
async function measureUnread(fabric: Fabric): Promise<number> {
  const shared = new SharedArrayBuffer(8)
  const [round, done] = [0, 1]
  const state = new Int32Array(shared)
  const threads = Array.from({ length: most }, () => new Worker(self, { workerData: { shared } }))
  await Promise.all(threads.map((thread) => new Promise((ready) => thread.once('message', ready))))
  const samples: number[] = []
  for (let i = 0; i < rounds; i++) {
    for (let warm = 0; warm < 5; warm++) fabric.snapshot({ limit: 1024 })
    Atomics.store(state, done, 0)
    Atomics.add(state, round, 1)
    Atomics.notify(state, round)
    while (Atomics.load(state, done) < most)
      Atomics.wait(state, done, Atomics.load(state, done), 10)
    const start = now()
    fabric.snapshot({ limit: 1024 })
    samples.push(now() - start)
  }
  await Promise.all(threads.map((thread) => thread.terminate()))
  return median(samples)
}

/** Fills its ring in each round, until it is terminated. */
async function runFiller(): Promise<void> {
  const fabric = await openFabric({ devices: 'host:0' })
  const [round, done] = [0, 1]
  const state = new Int32Array(workerData.shared)
  parentPort?.postMessage('ready')
  for (let seen = 0; ; seen++) {
    while (Atomics.load(state, round) === seen) Atomics.wait(state, round, seen, 100)
    fabric.measureLogCost(65_000)
    Atomics.add(state, done, 1)
    Atomics.notify(state, done)
  }
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
  const cores = availableParallelism()
  const oneThreadNs = await measureRecords(1, seconds)
  const eventNs = await measureRecords(most, seconds)
  const snapshotUs = measureSnapshots(fabric, seconds) / 1e3
  const unreadSnapshotUs = (await measureUnread(fabric)) / 1e3
  fabric.logMode = 'off'
  const lastArriverUs = (await measureLastArriver(seconds)) / 1e3
  const virtual = values.virtual === undefined ? undefined : count('virtual', values.virtual, 1)
  const allReduceUs =
    (await measureAllReduce(seconds, values.devices, values.plugin, virtual)) / 1e3
  const rows: [string, number, string, number][] = [
    ['event record, one thread writing', oneThreadNs, 'ns', 50],
    [`event record, ${most} threads writing, ${cores} cores`, eventNs, 'ns', 50],
    ['snapshot of 1024 events', snapshotUs, 'us', 100],
    [`... with ${most} * 65,000 unread ones`, unreadSnapshotUs, 'us', 100],
    ['last of 8 host ranks launches', lastArriverUs, 'us', 20],
    [`all-reduce over ${values.devices} enqueued`, allReduceUs, 'us', 10],
  ]
  for (const [name, value, unit, goal] of rows) {
    console.log(`${name.padEnd(44)} ${value.toFixed(1).padStart(8)} ${unit}   goal ${goal} ${unit}`)
  }
  if (cores < most) {
    console.log(
      `${cores} cores: fewer than the ${most} writers, so their line does not show contention`,
    )
  }
  const figures = { cores, oneThreadNs, eventNs, snapshotUs, unreadSnapshotUs }
  console.log(JSON.stringify({ ...figures, lastArriverUs, allReduceUs }))
}

if (isMainThread) await main()
else if (workerData.shared) await runFiller()
else await runWriter()
