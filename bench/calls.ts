// Cost of a call from JavaScript, on host devices: an operator, an event, a snapshot, a value read
// back, and a step in which four workers meet in one small all-reduce. Prints a table and one JSON
// line. Run: npm run bench -- calls [--seconds 1]
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type Fabric, Group, openFabric, rand, scope, tensor, zeros } from 'weft'

interface Row {
  name: string
  median: number
  best: number
  unit: string
}

const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1] as number
const now = () => Number(process.hrtime.bigint())

/** Nanoseconds a call, one sample a batch, for `seconds`. `pause` runs between batches, untimed. */
async function sample(
  seconds: number,
  batch: number,
  body: () => void,
  pause: () => Promise<void> = async () => {},
): Promise<number[]> {
  for (let i = 0; i < 5 * batch; i++) body() // compiles
  await pause()
  const samples: number[] = []
  const end = now() + seconds * 1e9
  while (now() < end) {
    const start = now()
    for (let i = 0; i < batch; i++) body()
    samples.push((now() - start) / batch)
    await pause()
  }
  return samples
}

function row(name: string, samples: number[], unit: 'ns' | 'us'): Row {
  const scale = unit === 'us' ? 1e-3 : 1
  return { name, unit, median: median(samples) * scale, best: Math.min(...samples) * scale }
}

async function measureOperators(fabric: Fabric, seconds: number): Promise<Row[]> {
  const a = rand([16])
  const b = rand([16])
  const drained = () => fabric.synchronize()
  const inScope = await sample(
    seconds,
    10,
    () => {
      scope(() => {
        for (let i = 0; i < 100; i++) a.add(b)
      })
    },
    drained,
  )
  const disposed = await sample(seconds, 1000, () => a.add(b).dispose(), drained)
  const reads: number[] = []
  for (let end = now() + seconds * 1e9; now() < end; ) {
    const start = now()
    await a.data()
    reads.push(now() - start)
  }
  return [
    row(
      'a.add(b) of 16 elements, freed by scope()',
      inScope.map((ns) => ns / 100),
      'us',
    ),
    row('a.add(b).dispose()', disposed, 'us'),
    row('await data() of 16 elements', reads, 'us'),
  ]
}

async function measureLog(fabric: Fabric, seconds: number): Promise<Row[]> {
  const before = fabric.logMode
  const costs = { off: [] as number[], basic: [] as number[] }
  for (const mode of ['off', 'basic'] as const) {
    fabric.logMode = mode
    for (let i = 0; i < 500; i++) costs[mode].push(fabric.measureLogCost(2000))
  }
  const snapshots = await sample(seconds, 10, () => fabric.snapshot({ limit: 1024 }))
  const decoded = await sample(seconds, 10, () => fabric.snapshot({ limit: 1024 }).events)
  fabric.logMode = before
  return [
    row('one event, log off', costs.off, 'ns'),
    row('one event, log basic', costs.basic, 'ns'),
    row('snapshot of 1024 events', snapshots, 'us'),
    row('snapshot of 1024 events, decoded', decoded, 'us'),
  ]
}

/**
 * Nanoseconds a step: each of four workers submits an all-reduce of 16 elements and waits for all.
 */
async function measureCoordination(seconds: number): Promise<number[]> {
  const fabric = await openFabric({ devices: 'host:0-3' })
  using group = fabric.group()
  const workers = group.devices.map(
    (device, rank) =>
      new Worker(fileURLToPath(import.meta.url), {
        workerData: { id: group.id, rank, device, seconds },
      }),
  )
  const results = await Promise.all(
    workers.map(
      (worker) =>
        new Promise<number[]>((resolve, reject) => {
          worker.once('message', resolve)
          worker.once('error', reject)
        }),
    ),
  )
  return results[0] as number[]
}

/** One rank. A vote of 1 from any rank ends the run for all at the same step. */
function runRank(): void {
  const { id, rank, device, seconds } = workerData
  const mine = Group.attach(id).rank(rank)
  const x = zeros([16], { device })
  const steps: number[] = []
  const end = now() + seconds * 1e9
  for (let over = false; !over; ) {
    const start = now()
    const work = mine.allReduce(x, { vote: start > end ? 1 : 0 })
    work.wait()
    over = work.votes !== 0
    steps.push(now() - start)
  }
  parentPort?.postMessage(steps.slice(steps.length >> 2))
}

function print(rows: Row[]): void {
  const width = Math.max(...rows.map((r) => r.name.length))
  console.log(`${''.padEnd(width)}     median       best`)
  for (const r of rows) {
    const cells = [r.median, r.best].map((v) => `${v.toFixed(2).padStart(8)} ${r.unit}`)
    console.log(`${r.name.padEnd(width)} ${cells.join('')}`)
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '1' } } })
  const seconds = Number(values.seconds)
  const fabric = await openFabric({ devices: 'host:0' })
  await tensor([1]).item()
  const operators = await measureOperators(fabric, seconds)
  const log = await measureLog(fabric, seconds)
  const steps = row(
    'step of 4 workers: all-reduce and wait',
    await measureCoordination(seconds),
    'us',
  )
  print([...operators, ...log, steps])
  console.log(
    JSON.stringify({
      operatorUs: operators[0]!.median,
      eventNs: log[1]!.median,
      coordinationUs: steps.median,
      snapshot1024Us: log[2]!.median,
    }),
  )
}

if (isMainThread) await main()
else runRank()
