// What a device reaches at best, measured: bytes a second of a large copy, FLOP a second of a large product in the
// precision of a step. bench/profile.ts holds operators against it.
import { autocast, randn, scope, synchronize } from 'weft'
import type { StepPrecision } from './workloads.js'

export interface DeviceLimits {
  /** Read and written. */
  bytesPerSecond: number
  flopPerSecond: number
  /** What was measured, for people. */
  how: string
}

const patience = { timeoutMs: 600_000 }
const rounds = 5

/** Best seconds of `rounds` times `repeat` calls. */
async function best(device: string, repeat: number, run: () => void): Promise<number> {
  run()
  await synchronize(device, patience)
  let seconds = Number.POSITIVE_INFINITY
  for (let round = 0; round < rounds; round++) {
    const start = performance.now()
    for (let i = 0; i < repeat; i++) run()
    await synchronize(device, patience)
    seconds = Math.min(seconds, (performance.now() - start) / 1000 / repeat)
  }
  return seconds
}

/** Measures them on `device`, which must be idle. */
export async function measureLimits(
  device: string,
  precision: StepPrecision,
): Promise<DeviceLimits> {
  const gpu = device.startsWith('cuda')
  const megabytes = gpu ? 1024 : 128
  const size = gpu ? 8192 : 1024
  const repeat = gpu ? 10 : 3
  const copied = randn([(megabytes * 2 ** 20) / 4], { device })
  const copy = await best(device, repeat, () => scope(() => void copied.clone()))
  copied.dispose()
  const dtype = precision === 'bf16' ? 'bf16' : 'f32'
  const a = scope(() => randn([size, size], { device }).to({ dtype }))
  const b = scope(() => randn([size, size], { device }).to({ dtype }))
  const product = await best(device, repeat, () =>
    scope(() => void autocast(precision, () => a.matmul(b))),
  )
  a.dispose()
  b.dispose()
  return {
    bytesPerSecond: (2 * megabytes * 2 ** 20) / copy,
    flopPerSecond: (2 * size ** 3) / product,
    how: `measured: a copy of ${megabytes} MiB, a product of ${size} x ${size} x ${size} in ${dtype}`,
  }
}
