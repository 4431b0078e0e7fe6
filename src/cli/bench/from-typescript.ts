// Collectives as a program in TypeScript calls them, timed; `weft bench` shows them beside those called from C++.
import type { Fabric } from '../../fabric/fabric.js'
import type { Group } from '../../fabric/group.js'
import type { BenchKind } from '../../fabric/reduce-bench.js'
import { elementBytes } from './flags.js'

/** Microseconds a call from TypeScript, all-reduce in place, and in a captured graph: a figure a round. */
export async function callFromTypeScript(
  fabric: Fabric,
  group: Group,
  bytes: number,
  dtype: keyof typeof elementBytes,
  kind: BenchKind,
  { rounds, calls, graphCalls }: { rounds: number; calls: number; graphCalls: number },
) {
  const { zeros } = await import('../../tensor/operators/factory.js')
  const { noGrad } = await import('../../autograd/no-grad.js')
  const { captureGraph } = await import('../../graph/graph.js')
  const count = bytes / elementBytes[dtype]
  const make = (elements: number) =>
    group.devices.map((device) => zeros([elements], { device, dtype }))
  const whole = make(count)
  const slices = kind === 'allReduce' ? [] : make(count / group.size)
  const call = {
    allReduce: () => group.allReduce(whole),
    reduceScatter: () => group.reduceScatter(whole, slices),
    allGather: () => group.allGather(slices, whole),
  }[kind]
  const reduce = () => noGrad(() => void call())
  const timed = async (per: number, run: () => void) => {
    run()
    await fabric.synchronize()
    const samples: number[] = []
    for (let round = 0; round < rounds; round++) {
      const start = performance.now()
      run()
      await fabric.synchronize()
      samples.push(((performance.now() - start) * 1e3) / per)
    }
    return samples
  }
  try {
    const eagerUs = await timed(calls, () => {
      for (let i = 0; i < calls; i++) reduce()
    })
    if (graphCalls === 0) return { eagerUs, graphUs: [] }
    const graph = captureGraph(
      () => {
        for (let i = 0; i < graphCalls; i++) reduce()
      },
      { devices: group.devices },
    )
    const graphUs = await timed(4 * graphCalls, () => {
      for (let i = 0; i < 4; i++) graph.replay()
    })
    graph.dispose()
    return { eagerUs, graphUs }
  } finally {
    for (const part of [...whole, ...slices]) part.dispose()
  }
}
