// Host time of a repeated redistribute over its collective, on four devices: what plan, rules and objects cost.
// Run it with `npm run bench -- mesh [devices]`; the last line is one JSON object.
import { performance } from 'node:perf_hooks'
import {
  collectives,
  type DistributedTensor,
  distribute,
  openFabric,
  type Placement,
  partial,
  rand,
  replicated,
  scope,
  sharded,
  type Tensor,
} from 'weft'

const fabric = await openFabric({ devices: process.argv[2] ?? 'host:0-3' })
const names = fabric.devices.map(({ name }) => name)
using mesh = fabric.mesh({ model: names.length })
const [group] = mesh.groups('model')
const rounds = 100
const calls = 20

/** Median host µs of a call of each, over rounds that each end idle; the two take turns. */
async function hostMicroseconds(both: readonly (() => unknown)[]): Promise<number[]> {
  const times: number[][] = both.map(() => [])
  for (let r = 0; r < rounds; r++) {
    for (const [k, call] of both.entries()) {
      const start = performance.now()
      for (let i = 0; i < calls; i++) scope(() => void call())
      times[k]!.push(((performance.now() - start) * 1000) / calls)
      await fabric.synchronize()
    }
  }
  return times.map((list) => list.sort((a, b) => a - b)[rounds / 2] as number)
}

type Bare = (parts: Tensor[]) => Tensor[]
const large = rand([names.length * 64, 64], { device: names[0] as string })
const small = rand([64], { device: names[0] as string })
const cases: [name: string, from: Placement, to: Placement, bare: Bare | undefined][] = [
  // So small that the host driver reduces it at once: what a redistribute costs where there are no copies.
  ['all-reduce, 256 B', partial(), replicated(), (parts) => collectives.allReduce(group!, parts)],
  ['all-reduce', partial(), replicated(), (parts) => collectives.allReduce(group!, parts)],
  ['all-gather', sharded(0), replicated(), (parts) => collectives.allGather(group!, parts)],
  ['reduce-scatter', partial(), sharded(0), (parts) => collectives.reduceScatter(group!, parts)],
  ['view', replicated(), sharded(0), undefined],
]
const result: Record<string, { us: number; collectiveUs: number; overUs: number }> = {}
for (const [name, from, to, bare] of cases) {
  using x: DistributedTensor = distribute(name.endsWith('256 B') ? small : large, mesh, {
    model: from,
  })
  const all = { model: to }
  x.redistribute(all).dispose() // the plan is cached from here on
  const [us, collectiveUs] = (await hostMicroseconds([
    () => x.redistribute(all),
    () => bare?.([...x.locals]),
  ])) as [number, number]
  result[name] = {
    us: Number(us.toFixed(1)),
    collectiveUs: Number(collectiveUs.toFixed(1)),
    overUs: Number((us - collectiveUs).toFixed(1)),
  }
}
console.table(result)
console.log(
  JSON.stringify({ bench: 'mesh', devices: names, rounds, calls, hostMicroseconds: result }),
)
