// Time of all-reduce over the devices of a group, from 1 KiB to 512 MiB: called from TypeScript, and replayed from
// a captured graph. Sums in f32. Prints a table and one JSON line. Run:
// npm run bench -- allreduce [--devices cuda] [--virtual N] [--sizes 1,64,1024] (KiB) [--plugin ringallreduce]
import { parseArgs } from 'node:util'
import { captureGraph, type Group, memory, noGrad, openFabric, type Tensor, zeros } from 'weft'
import { count } from './training/arguments.js'

const rounds = 7
const defaultSizes = '1,8,64,256,1024,4096,16384,65536,262144,524288'

const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1] as number

/** Microseconds a call: the median of rounds of `calls` each, which end when every device is done. */
async function time(calls: number, run: () => void, drained: () => Promise<unknown>) {
  run()
  await drained()
  const samples: number[] = []
  for (let r = 0; r < rounds; r++) {
    const start = performance.now()
    for (let i = 0; i < calls; i++) run()
    await drained()
    samples.push(((performance.now() - start) / calls) * 1e3)
  }
  return median(samples)
}

async function measure(group: Group, kib: number, drained: () => Promise<unknown>) {
  const parts = group.devices.map((device) => zeros([kib * 256], { device }))
  const reduce = () => noGrad(() => void group.allReduce(parts))
  const calls = kib >= 65536 ? 10 : 50
  const eager = await time(calls, reduce, drained)
  // Ten reductions a graph, so that its own launch weighs little.
  const inside = 10
  const graph = captureGraph(
    () => {
      for (let i = 0; i < inside; i++) reduce()
    },
    { devices: group.devices },
  )
  const replayed = (await time(Math.ceil(calls / inside), () => graph.replay(), drained)) / inside
  graph.dispose()
  for (const part of parts as Tensor[]) part.dispose()
  const bytes = kib * 1024
  const share = (2 * (group.size - 1)) / group.size // bytes that each rank must send, over the size
  const rate = (us: number) => Number(((bytes * share) / us / 1e3).toFixed(1))
  return {
    kib,
    eagerUs: Number(eager.toFixed(1)),
    graphUs: Number(replayed.toFixed(1)),
    busGBs: rate(Math.min(eager, replayed)),
  }
}

const { values } = parseArgs({
  options: {
    devices: { type: 'string', default: 'auto' },
    virtual: { type: 'string' },
    sizes: { type: 'string', default: defaultSizes },
    plugin: { type: 'string' },
  },
})
const virtual = values.virtual === undefined ? {} : { virtual: Number(values.virtual) }
const fabric = await openFabric({ devices: values.devices, ...virtual })
if (values.plugin !== undefined) fabric.loadPlugin(values.plugin)
const group = fabric.group()
const rows = []
console.log(`${group.size} devices: ${group.devices.join(', ')}`)
console.log('      KiB   called us   in a graph us   bus GB/s')
for (const size of values.sizes.split(',')) {
  const kib = count('sizes', size, 1)
  const row = await measure(group, kib, () => fabric.synchronize())
  rows.push(row)
  const cells = [row.kib, row.eagerUs, row.graphUs, row.busGBs]
  console.log(cells.map((cell, i) => String(cell).padStart([9, 12, 16, 11][i] as number)).join(''))
}
const links = fabric.topology().links.map(({ kind }) => kind)
const peak = Math.max(...Object.values(memory()).map((m) => m.peakReservedBytes))
console.log(
  JSON.stringify({
    bench: 'allreduce',
    devices: group.devices,
    plugin: values.plugin ?? null,
    link: links[0],
    rows,
    peakReservedBytes: peak,
  }),
)
group.dispose()
