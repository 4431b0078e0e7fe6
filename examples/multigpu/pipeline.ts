// A model split over devices by `to`: each device has a stage, micro-batches follow each other through them, and
// while one stage computes a micro-batch the one before computes the next. Gradients of all micro-batches add up
// to those of the whole batch on one device. Run it with `npm run example -- pipeline` (a name of devices may
// follow, as in `cuda:0-3`).
import { fileURLToPath } from 'node:url'
import {
  functional as F,
  type Fabric,
  keep,
  manualSeed,
  openFabric,
  optim,
  randn,
  scope,
  type Tensor,
} from 'weft'

const [rows, width, microBatches] = [256, 128, 4]

/** Two linear layers on one device. */
type Stage = [Tensor, Tensor]

function forward([up, down]: Stage, x: Tensor): Tensor {
  return x.add(F.linear(F.linear(x, up, null, { gelu: true }), down))
}

function mse(y: Tensor, target: Tensor): Tensor {
  const off = y.sub(target)
  return off
    .mul(off)
    .sum()
    .mul(1 / (rows * width))
}

/** Time in which at least two devices computed at once, over the time in which any did. */
function overlap(fabric: Fabric, since: number): number {
  const { events } = fabric.snapshot({ since, limit: 65536 })
  const spans = new Map<number, { from: number; to: number }[]>()
  const last = new Map<string, number>()
  for (const { kind, device, stream, hostNs, deviceNs } of events) {
    if (deviceNs === 0) continue
    const key = `${device} ${stream}`
    // A stream was at work on an event since the one before it was done, or since it was enqueued.
    const from = Math.max(hostNs, last.get(key) ?? 0)
    last.set(key, deviceNs)
    if (kind !== 'operator') continue
    const list = spans.get(device) ?? []
    list.push({ from, to: deviceNs })
    spans.set(device, list)
  }
  const edges = [...spans.values()]
    .flat()
    .flatMap(({ from, to }) =>
      to > from
        ? [
            { at: from, step: 1 },
            { at: to, step: -1 },
          ]
        : [],
    )
    .sort((a, b) => a.at - b.at)
  let [busy, both, open, before] = [0, 0, 0, 0]
  for (const { at, step } of edges) {
    if (open > 0) busy += at - before
    if (open > 1) both += at - before
    open += step
    before = at
  }
  return busy === 0 ? 0 : both / busy
}

/** Losses step by step, of one device and of the pipeline; and the share of time in which devices overlapped. */
export async function train(fabric: Fabric, steps: number, print = console.log) {
  fabric.logMode = 'timing'
  const devices = fabric.devices.map(({ name }) => name)
  const first = devices[0] as string
  manualSeed(7)
  const weight = () => randn([width, width], { std: 0.05, device: first })
  const make = (): Stage => [keep(weight()), keep(weight())]
  const plain = devices.map(make)
  const stages = plain.map((stage, s) =>
    stage.map((w) =>
      keep(
        w
          .clone()
          .to({ device: devices[s] as string })
          .detach()
          .requiresGrad_(),
      ),
    ),
  ) as Stage[]
  for (const w of plain.flat()) w.requiresGrad_()
  const x = randn([rows, width], { device: first })
  const target = randn([rows, width], { device: first })
  const one = optim.sgd(plain.flat(), { lr: 0.1 })
  const each = stages.map((stage) => optim.sgd(stage, { lr: 0.1 }))
  const losses: [plain: number, pipeline: number][] = []
  let overlapped = 0
  for (let step = 0; step < steps; step++) {
    const whole = scope(() => {
      const loss = mse(
        plain.reduce((y, stage) => forward(stage, y), x),
        target,
      )
      loss.backward()
      one.step()
      one.zeroGrad()
      return loss
    })
    await fabric.synchronize()
    const { nextSequence } = fabric.snapshot({ limit: 0 })
    const sum = scope(() => {
      const inputs = x.split(rows / microBatches)
      const targets = target.split(rows / microBatches)
      const parts = inputs.map((input, m) => {
        const y = stages.reduce(
          (value, stage, s) => forward(stage, value.to({ device: devices[s] as string })),
          input,
        )
        return mse(y, (targets[m] as Tensor).to({ device: y.device }))
      })
      for (const loss of parts) loss.backward() // micro-batch m's last stage beside m - 1's first
      for (const optimizer of each) {
        optimizer.step()
        optimizer.zeroGrad()
      }
      return parts.reduce((a, b) => a.add(b))
    })
    const [a, b] = [await whole.item(), await sum.item()]
    await fabric.synchronize()
    whole.dispose()
    sum.dispose()
    overlapped = overlap(fabric, nextSequence)
    losses.push([a, b])
    const share = `${(100 * overlapped).toFixed(0)} % of the time at least two of ${devices.length} devices at work`
    print(`step ${step}  one device ${a.toFixed(5)}  pipeline ${b.toFixed(5)}  ${share}`)
  }
  for (const tensor of [...plain.flat(), ...stages.flat(), x, target]) tensor.dispose()
  for (const optimizer of [one, ...each]) optimizer.dispose()
  fabric.logMode = 'off'
  return { losses, overlapped }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const fabric = await openFabric({ devices: process.argv[2] ?? 'host:0-3' })
  await train(fabric, 5)
}
