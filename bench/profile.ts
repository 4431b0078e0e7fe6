// Where the device time of a training step goes, and how far that is from what the device can do: by operator, forward
// and backward, with the bytes and FLOP that its shapes need at the least. Some eager steps under log mode timing. Run:
// npm run bench -- profile [--device cuda:0] [--work minigpt] [--steps 3] [--batch 64] [--precision bf16] [--tf32 off]
// [--json] [--top 30]
//
// Limits are measured in the same process. A share of a limit is the larger one of bytes and FLOP; small operators that
// live in caches may pass 100 %. A call is one record: some operators are several kernels.
import { parseArgs } from 'node:util'
import { allowTf32, manualSeed, openFabric, scope, setDefaultDevice, synchronize } from 'weft'
import { table } from '../src/cli/table.js'
import { count } from './training/arguments.js'
import { type DeviceLimits, measureLimits } from './training/device-limits.js'
import { type AccountRow, accountFor } from './training/step-account.js'
import { fixedBatch, stepPrecision, trainStep, workload } from './training/workloads.js'

const patience = { timeoutMs: 600_000 }

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    work: { type: 'string', default: 'minigpt' },
    steps: { type: 'string' },
    warmup: { type: 'string' },
    batch: { type: 'string' },
    precision: { type: 'string', default: 'f32' },
    tf32: { type: 'string', default: 'on' },
    top: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})

type Pass = 'forward' | 'backward' | 'other'

/** Which part of a step a name belongs to: gradient sums and the like count as backward, the optimizer as other. */
function passOf(name: string): Pass {
  if (name.endsWith('.backward') || name.startsWith('gradient.')) return 'backward'
  const others =
    /^(\(no name\)|reducer\.|graph\.|adamw_step|sgd_step|clip_grad_norm|amp_|zero_|fill_)/
  return others.test(name) ? 'other' : 'forward'
}

interface ProfileRow {
  name: string
  pass: Pass
  /** Of one step. */
  calls: number
  us: number
  shareOfStep: number
  bytes: number
  flop: number
  shareOfLimit: number | null
}

function profileRow(
  row: AccountRow,
  steps: number,
  busyNs: number,
  limits: DeviceLimits,
): ProfileRow {
  const seconds = row.ns / 1e9
  const reached = Math.max(
    row.bytes / seconds / limits.bytesPerSecond,
    row.flop / seconds / limits.flopPerSecond,
  )
  return {
    name: row.name,
    pass: passOf(row.name),
    calls: row.calls / steps,
    us: row.ns / 1e3 / steps,
    shareOfStep: row.ns / busyNs,
    bytes: row.bytes / steps,
    flop: row.flop / steps,
    shareOfLimit: row.bytes > 0 && seconds > 0 ? reached : null,
  }
}

async function profile() {
  const { device } = values
  const precision = stepPrecision(values.precision)
  allowTf32(values.tf32 !== 'off')
  const work = workload(values.work)
  const steps = count('steps', values.steps, 3)
  const fabric = await openFabric({ devices: [device] })
  setDefaultDevice(device)
  manualSeed(0)
  const limits = await measureLimits(device, precision)
  const model = work.model()
  const parameters = model.parameters()
  const optimizer = work.optimizer(parameters)
  const batch = count('batch', values.batch, work.batch)
  const { x, y } = fixedBatch(work, { device, batch })
  const step = () =>
    scope(() => void trainStep(work, model, parameters, optimizer, x, y, precision))
  for (let i = 0; i < count('warmup', values.warmup, 8); i++) step()
  await synchronize(device, patience)
  fabric.logMode = 'timing'
  const { nextSequence } = fabric.snapshot({ limit: 0 })
  for (let i = 0; i < steps; i++) step()
  await synchronize(device, patience)
  const snapshot = fabric.snapshot({ since: nextSequence, limit: 65_536 })
  fabric.logMode = 'off'
  const account = accountFor(snapshot.events, fabric.devices[0]?.index ?? 0)
  const rows = account.rows.map((row) => profileRow(row, steps, account.busyNs, limits))
  const sum = (pass: Pass) => rows.reduce((us, row) => us + (row.pass === pass ? row.us : 0), 0)
  return {
    work: work.name,
    device,
    model: fabric.devices[0]?.model,
    batch,
    precision,
    steps,
    dropped: snapshot.dropped,
    limits,
    stepUs: (account.busyNs + account.idleNs) / 1e3 / steps,
    busyUs: account.busyNs / 1e3 / steps,
    gaps: { count: account.gaps / steps, us: account.idleNs / 1e3 / steps },
    calls: rows.reduce((total, row) => total + row.calls, 0),
    forwardUs: sum('forward'),
    backwardUs: sum('backward'),
    otherUs: sum('other'),
    rows,
  }
}

const digits = (value: number) => (value === 0 ? '-' : Number(value.toPrecision(3)).toString())
const percent = (share: number | null) => (share === null ? '-' : `${(100 * share).toFixed(1)} %`)

function print(found: Awaited<ReturnType<typeof profile>>): void {
  const { limits, gaps } = found
  const gigabytes = (limits.bytesPerSecond / 1e9).toFixed(1)
  const teraflop = (limits.flopPerSecond / 1e12).toPrecision(3)
  console.log(
    `${found.work}, batch ${found.batch}, ${found.precision}, on ${found.device} (${found.model})`,
  )
  console.log(`limits    ${gigabytes} GB/s, ${teraflop} TFLOP/s (${limits.how})`)
  const rows = found.rows
    .slice(0, count('top', values.top, 30))
    .map((row) => [
      row.name,
      row.pass,
      digits(row.calls),
      row.us.toFixed(1),
      percent(row.shareOfStep),
      digits(row.bytes / 1e6),
      digits(row.flop / 1e9),
      percent(row.shareOfLimit),
    ])
  const head = ['work', 'pass', 'calls', 'us a step', 'of step', 'MB', 'GFLOP', 'of limit']
  console.log(table(head, rows))
  const left = found.rows.length - rows.length
  if (left > 0) console.log(`${left} shorter ones: --top, --json`)
  const ms = (us: number) => `${(us / 1e3).toFixed(2)} ms`
  console.log(
    `a step    ${ms(found.busyUs)} of work (forward ${ms(found.forwardUs)}, backward ${ms(found.backwardUs)}, ` +
      `other ${ms(found.otherUs)}) in ${digits(found.calls)} calls, ${ms(gaps.us)} in ${digits(gaps.count)} gaps`,
  )
  if (found.dropped > 0)
    console.log(`${found.dropped} records were overwritten: take fewer --steps`)
}

const found = await profile()
if (values.json) console.log(JSON.stringify(found))
else print(found)
