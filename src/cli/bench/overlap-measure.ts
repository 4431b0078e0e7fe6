// Matrix products and all-reduces beside each other: enqueued, timed on the devices, and how much of the time the other
// work was there. `weft bench overlap` shows it.
//
// Products are enqueued first, then reductions, on all devices by this thread. To see what one loses the other lasts
// longer (half as long again); `covered` tells how much of the measured time it really lasted.
import type { Fabric } from '../../fabric/fabric.js'
import type { ReduceBench } from '../../fabric/reduce-bench.js'
import type { Stream } from '../../fabric/stream.js'
import type { Tensor } from '../../tensor/tensor.js'
import { quantiles } from './figures.js'

/** The longest time over all devices of some work on some streams, and when it is done. */
interface Span {
  ms(): number
}

const mostReduces = 400
const products = 10
const longer = 1.5

/** Factors of `size` x `size` on each device, and a stream beside its own. Dispose of it. */
export async function makeOverlapWork(fabric: Fabric, size: number) {
  const { randn } = await import('../../tensor/operators/random.js')
  const { matmul } = await import('../../tensor/generated/functions.js')
  const { noGrad } = await import('../../autograd/no-grad.js')
  const { createStream, currentStream, withStream } = await import('../../fabric/stream.js')
  const { TimedEvent } = await import('../../fabric/timed-event.js')
  const names = fabric.devices.map(({ name }) => name)
  const dtype = fabric.devices[0]?.driver === 'host' ? 'f32' : 'bf16'
  const matrix = (device: string): Tensor => randn([size, size], { device, dtype })
  const factors = names.map((device) => [matrix(device), matrix(device)] as const)
  const sides = names.map((name) => createStream(name))
  const timed = (streams: readonly Stream[], enqueue: () => void): Span => {
    const mark = () =>
      streams.map((each) => withStream(each, () => new TimedEvent(each.device).record()))
    const starts = mark()
    enqueue()
    const stops = mark()
    return { ms: () => Math.max(...stops.map((stop, i) => stop.elapsedMs(starts[i]!))) }
  }
  return {
    multiply: (count: number) =>
      timed(
        names.map((name) => currentStream(name)),
        () => {
          for (let i = 0; i < count; i++) {
            noGrad(() => {
              for (const [a, b] of factors) matmul(a, b).dispose()
            })
          }
        },
      ),
    reduce: (bench: ReduceBench, label: string, bytes: number, count: number) =>
      timed(sides, () => bench.start(label, bytes, count, sides)),
    dispose() {
      for (const pair of factors) for (const each of pair) each.dispose()
    },
  }
}
type OverlapWork = Awaited<ReturnType<typeof makeOverlapWork>>

const median = (list: number[]) => quantiles(list)!.median

/** Milliseconds of device time of one product and one reduction, alone and beside the other. */
export async function measureOverlap(
  fabric: Fabric,
  work: OverlapWork,
  bench: ReduceBench,
  label: string,
  bytes: number,
  rounds: number,
) {
  const repeat = async (run: () => Promise<number>) => {
    const list: number[] = []
    for (let i = 0; i < rounds; i++) list.push(await run())
    return median(list)
  }
  const one = async (span: Span, count: number) => {
    await fabric.synchronize()
    return span.ms() / count
  }
  await one(work.multiply(products), products) // chooses kernels, warms up
  const alone = {
    gemm: await repeat(() => one(work.multiply(products), products)),
    reduce: await repeat(() => one(work.reduce(bench, label, bytes, 4), 4)),
  }
  const covered: number[] = []
  const both = async (multiplies: number, reduces: number, measured: 'gemm' | 'reduce') => {
    const gemm = work.multiply(multiplies)
    const reduce = work.reduce(bench, label, bytes, reduces)
    await fabric.synchronize()
    const times = { gemm: gemm.ms(), reduce: reduce.ms() }
    const other = measured === 'gemm' ? times.reduce : times.gemm
    covered.push(Math.min(1, other / times[measured]))
    return times[measured] / (measured === 'gemm' ? multiplies : reduces)
  }
  const fit = (ms: number) => Math.max(1, Math.min(mostReduces, Math.ceil(ms / alone.reduce)))
  const many = fit(longer * products * alone.gemm)
  const few = fit(products * alone.gemm)
  const multiplies = Math.max(1, Math.ceil((longer * few * alone.reduce) / alone.gemm))
  const beside = {
    gemm: await repeat(() => both(products, many, 'gemm')),
    reduce: await repeat(() => both(multiplies, few, 'reduce')),
  }
  return { alone, beside, covered: Math.min(...covered) }
}
