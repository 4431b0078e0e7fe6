// Where the device time of a training step goes, by name: one eager step of a workload under log mode
// timing. Prints a table and one JSON line. Run:
// npm run bench -- step-log [--device cuda:0] [--work minigpt] [--batch 64]
//
// An event's device time is when its stream had done the work, so its span begins where the event before
// it on the stream ended, or where the host had that one enqueued, when the stream stood still until then
// (counted as idle). Spans of operators carry a name; those of event records and waits do not.
import { parseArgs } from 'node:util'
import { allowTf32, manualSeed, openFabric, scope, setDefaultDevice, synchronize } from 'weft'
import { count } from './training/arguments.js'
import { accountFor } from './training/step-account.js'
import { fixedBatch, trainStep, workload } from './training/workloads.js'

const warmupSteps = 8
const patience = { timeoutMs: 600_000 }

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    work: { type: 'string', default: 'minigpt' },
    batch: { type: 'string' },
    warmup: { type: 'string' },
    tf32: { type: 'string', default: 'on' },
  },
})

allowTf32(values.tf32 !== 'off')
const { device } = values
const work = workload(values.work)
const fabric = await openFabric({ devices: [device] })
setDefaultDevice(device)
manualSeed(0)
const model = work.model()
const parameters = model.parameters()
const optimizer = work.optimizer(parameters)
const { x, y } = fixedBatch(work, { device, batch: count('batch', values.batch, work.batch) })
const step = () => scope(() => void trainStep(work, model, parameters, optimizer, x, y))

for (let i = 0; i < count('warmup', values.warmup, warmupSteps); i++) step()
await synchronize(device, patience)
fabric.logMode = 'timing'
const { nextSequence } = fabric.snapshot({ limit: 0 })
step()
await synchronize(device, patience)
const snapshot = fabric.snapshot({ since: nextSequence, limit: 65_536 })
fabric.logMode = 'off'

const account = accountFor(snapshot.events, fabric.devices[0]?.index ?? 0)
const ms = (ns: number) => Number((ns / 1e6).toFixed(4))
const width = Math.max(...account.rows.map((row) => row.name.length))
for (const { name, ns, calls } of account.rows) {
  const share = ((100 * ns) / account.busyNs).toFixed(1)
  console.log(
    `${name.padEnd(width)} ${String(calls).padStart(5)} ${ms(ns).toFixed(4).padStart(11)} ms ${share.padStart(5)} %`,
  )
}
console.log(
  JSON.stringify({
    work: work.name,
    device,
    dropped: snapshot.dropped,
    busy_ms: ms(account.busyNs),
    idle_ms: ms(account.idleNs),
    named_share: Number((account.namedNs / account.busyNs).toFixed(4)),
    by_name: Object.fromEntries(account.rows.map(({ name, ns }) => [name, ms(ns)])),
  }),
)
