// Operators against PyTorch's eager ones, measured as bench anchors measure those: host time of a
// dispatch, GB/s of add and sum, TFLOP/s of products. Prints a table and one JSON line.
// Run: npm run bench -- operators [--device cuda:0] [--elements 268435456] [--against torch.jsonl]
//
// `--against` takes the JSON lines of PyTorch on the same machine: {op, us | gbs | tflops}. On host
// devices sizes are small: there the bench is only tried out.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import {
  allowTf32,
  type DType,
  noGrad,
  openFabric,
  randn,
  scope,
  synchronize,
  type Tensor,
  TimedEvent,
  zeros,
} from 'weft'
import { launchProbe } from 'weft/testing'

/** One figure; `op` is the name that PyTorch's figure has, where it has one. */
interface Figure {
  op: string
  unit: 'us' | 'gbs' | 'tflops'
  value: number
}
type Shape = [m: number, n: number, k: number]

const gpuShapes: Shape[] = [
  [8192, 8192, 8192],
  [32768, 2304, 768],
  [32768, 768, 3072],
  [32768, 3072, 768],
  [32768, 50304, 768],
  [8192, 1024, 256],
  [4096, 384, 128],
]
const hostShapes: Shape[] = [
  [128, 128, 128],
  [256, 96, 64],
]
const torchNames: Record<string, string> = { f32: 'torch.float32', bf16: 'torch.bfloat16' }

const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1] as number
const now = () => Number(process.hrtime.bigint())

/** Host microseconds a call of each body, by round. Rounds interleave the bodies, since the cost of a
 * launch drifts by a quarter within seconds; each starts with an idle device. */
async function hostTimes(
  device: string,
  calls: number,
  bodies: ((times: number) => void)[],
): Promise<number[][]> {
  const rounds: number[][] = bodies.map(() => [])
  for (let round = -1; round < 11; round++) {
    for (const [i, body] of bodies.entries()) {
      await synchronize(device)
      const start = now()
      body(calls)
      const us = (now() - start) / calls / 1e3
      if (round >= 0) (rounds[i] as number[]).push(us) // the first compiles and fills caches
    }
  }
  await synchronize(device)
  return rounds
}

/** `body` `times` times, in scopes of at most 100. */
function inScopes(body: () => void): (times: number) => void {
  return (times) => {
    for (let left = times; left > 0; left -= 100) {
      scope(() => {
        for (let i = Math.min(left, 100); i > 0; i--) body()
      })
    }
  }
}

async function measureDispatch(device: string, calls: number): Promise<Figure[]> {
  const a = zeros([16], { device })
  const b = zeros([16], { device })
  const leaf = zeros([16], { device, requiresGrad: true })
  const launch = launchProbe(device)
  const repeat = (body: () => void) => (times: number) => {
    for (let i = 0; i < times; i++) body()
  }
  const bodies: Record<string, (times: number) => void> = {
    'bare launch': repeat(launch),
    'dispatch add (16 elems)': inScopes(() => a.add(b)),
    'dispatch add, dispose()': repeat(() => a.add(b).dispose()),
    'dispatch add_ no_grad': (times) => noGrad(() => repeat(() => a.add_(b))(times)),
    'dispatch add autograd fwd': inScopes(() => leaf.add(b)),
    'mul+sum+backward tiny': inScopes(() => leaf.mul(b).sum().backward()),
  }
  const times = await hostTimes(device, calls, Object.values(bodies))
  const rows: Figure[] = Object.keys(bodies).map((op, i) => {
    return { op, unit: 'us', value: median(times[i] as number[]) }
  })
  const [bare, add] = times as [number[], number[]]
  const over = median(add.map((us, i) => us - (bare[i] as number)))
  rows.splice(2, 0, { op: 'add over a bare launch', unit: 'us', value: over })
  for (const each of [a, b, leaf]) each.dispose()
  return rows
}

/** Median milliseconds of `run` on the device, its caches overwritten before each. */
async function deviceTime(device: string, flush: Tensor, run: () => Tensor): Promise<number> {
  const timed = async (times: number) => {
    const marks = Array.from({ length: times }, () => [
      new TimedEvent(device),
      new TimedEvent(device),
    ])
    for (const [start, stop] of marks as [TimedEvent, TimedEvent][]) {
      flush.zero_()
      start.record()
      const result = run()
      stop.record()
      result.dispose()
    }
    await synchronize(device)
    return median((marks as [TimedEvent, TimedEvent][]).map(([a, b]) => b.elapsedMs(a)))
  }
  await timed(3) // chooses kernels, fills the allocator's cache
  const about = await timed(5)
  await timed(Math.min(100, Math.ceil(25 / about)))
  return timed(Math.max(20, Math.min(500, Math.ceil(100 / about))))
}

async function measureBandwidth(
  device: string,
  elements: number,
  flush: Tensor,
): Promise<Figure[]> {
  const rows: Figure[] = []
  for (const dtype of ['f32', 'bf16'] as DType[]) {
    const bytes = elements * (dtype === 'f32' ? 4 : 2)
    const x = randn([elements], { device, dtype })
    const y = randn([elements], { device, dtype })
    const add = await deviceTime(device, flush, () => x.add(y))
    const sum = await deviceTime(device, flush, () => x.sum())
    rows.push({ op: `add ${torchNames[dtype]}`, unit: 'gbs', value: (3 * bytes) / add / 1e6 })
    rows.push({ op: `sum ${torchNames[dtype]}`, unit: 'gbs', value: bytes / sum / 1e6 })
    x.dispose()
    y.dispose()
  }
  return rows
}

async function measureProducts(device: string, shapes: Shape[], flush: Tensor): Promise<Figure[]> {
  const rows: Figure[] = []
  for (const dtype of ['bf16', 'f32'] as DType[]) {
    for (const [m, n, k] of shapes) {
      const x = randn([m, k], { device, dtype })
      const w = randn([n, k], { device, dtype })
      const transposed = w.t()
      const ms = await deviceTime(device, flush, () => x.matmul(transposed))
      const op = `gemm ${torchNames[dtype]} ${m}x${n}x${k}`
      rows.push({ op, unit: 'tflops', value: (2 * m * n * k) / ms / 1e9 })
      for (const each of [x, w, transposed]) each.dispose()
    }
  }
  return rows
}

/** PyTorch's figures by name. */
function readAnchors(path: string): Map<string, number> {
  const anchors = new Map<string, number>()
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (!line.startsWith('{')) continue
    const { op, us, gbs, tflops } = JSON.parse(line)
    const value = us ?? gbs ?? tflops
    if (typeof op === 'string' && typeof value === 'number') anchors.set(op, value)
  }
  return anchors
}

function print(rows: Figure[], anchors: Map<string, number> | undefined): void {
  const units = { us: 'us', gbs: 'GB/s', tflops: 'TFLOP/s' }
  const width = Math.max(...rows.map((row) => row.op.length))
  if (anchors !== undefined) console.log(`${''.padEnd(width)}       weft            torch  ratio`)
  for (const { op, unit, value } of rows) {
    const digits = unit === 'us' ? 3 : 1
    let line = `${op.padEnd(width)} ${value.toFixed(digits).padStart(10)} ${units[unit].padEnd(7)}`
    const anchor = anchors?.get(op)
    if (anchor !== undefined) {
      line += ` ${anchor.toFixed(digits).padStart(10)} ${(value / anchor).toFixed(3).padStart(6)}`
    }
    console.log(line)
  }
}

const { values } = parseArgs({
  options: {
    device: { type: 'string' },
    elements: { type: 'string' },
    calls: { type: 'string' },
    only: { type: 'string', default: 'dispatch,bandwidth,gemm' },
    against: { type: 'string' },
  },
})
const fabric = await openFabric(values.device ? { devices: [values.device] } : {})
const { name: device, driver, model } = fabric.devices[0] as (typeof fabric.devices)[0]
const onGpu = driver === 'cuda'
const parts = values.only.split(',')
const elements = Number(values.elements ?? (onGpu ? 2 ** 28 : 2 ** 16))
allowTf32(true)

const rows: Figure[] = []
if (parts.includes('dispatch')) {
  rows.push(...(await measureDispatch(device, Number(values.calls ?? 5000))))
}
const flush = zeros([onGpu ? 2 ** 26 : 2 ** 12], { device })
if (parts.includes('bandwidth')) rows.push(...(await measureBandwidth(device, elements, flush)))
if (parts.includes('gemm')) {
  rows.push(...(await measureProducts(device, onGpu ? gpuShapes : hostShapes, flush)))
}
flush.dispose()
print(rows, values.against ? readAnchors(values.against) : undefined)
const figures = rows.map(({ op, unit, value }) => [op, { [unit]: Number(value.toPrecision(5)) }])
console.log(
  JSON.stringify({ bench: 'operators', device, model, elements, ...Object.fromEntries(figures) }),
)
