// Kernels that read a peer's memory where the topology allows it, and copies where it does not: the same bits and
// gradients either way, the path in the counters, and the order against what the peer does next.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  collectives,
  distribute,
  type Fabric,
  type Group,
  openFabric,
  replicated,
  sharded,
  type Tensor,
  tensor,
} from 'weft'
import { faults } from 'weft/testing'
import { hostOnly, several } from '../device.js'
import { numbers } from './reference.js'

const ranks = 3
let fabric: Fabric
let group: Group
beforeAll(async () => {
  fabric = await openFabric(several(ranks))
  group = fabric.group()
})
afterEach(() => faults.clear())
afterAll(() => group.dispose())

const reads = () => Number(fabric.snapshot({ limit: 0 }).counters['peer_read'])

function refuseAll(): void {
  for (let a = 0; a < ranks; a++) {
    for (let b = 0; b < ranks; b++) if (a !== b) faults.setPeerAccess(a, b, false)
  }
}

/** Parts of a (4, n) tensor along dimension 1, sizes 3, 2 and 1. */
const leaves = (): Tensor[] =>
  group.devices.map((device, r) => {
    const shape = [4, 3 - r]
    return tensor(numbers(shape, r + 1), { shape, device, requiresGrad: true })
  })

/** Runs `program` with access and without: results, gradients and the number of reads. */
async function bothWays(program: (parts: Tensor[]) => Tensor[]) {
  const outcomes = []
  for (const access of [true, false]) {
    if (!access) refuseAll()
    const parts = leaves()
    const before = reads()
    const made = program(parts)
    for (const y of made) y.mul(y).sum().backward()
    await fabric.synchronize()
    outcomes.push({
      read: reads() - before,
      values: await Promise.all([...made, ...parts.map((t) => t.grad!)].map((t) => t.toArray())),
    })
  }
  return outcomes as [(typeof outcomes)[0], (typeof outcomes)[0]]
}

hostOnly('takes access away')(
  'a gather along an inner dimension reads peers in place, or copies, with the same bits',
  async () => {
    for (const root of [0, 2]) {
      const [direct, copied] = await bothWays((parts) => [
        collectives.gather(group, parts, { root, dim: 1 }),
      ])
      expect(direct.read).toBe(ranks - 1)
      expect(copied.read).toBe(0)
      expect(copied.values).toEqual(direct.values)
      faults.clear()
    }
  },
)

hostOnly('takes access away')(
  'all-to-all of pieces that are no plain bytes reads peers in place, or copies, with the same bits',
  async () => {
    const [direct, copied] = await bothWays((parts) =>
      collectives.allToAll(group, parts, { splitDim: 0, joinDim: 1, sizes: [2, 1, 1] }),
    )
    expect(direct.read).toBeGreaterThan(0)
    expect(copied.read).toBe(0)
    expect(copied.values).toEqual(direct.values)
  },
)

hostOnly('takes access away')(
  'a distributed tensor cut unevenly becomes whole by reads or by copies, with the same bits',
  async () => {
    using mesh = fabric.mesh({ model: ranks })
    const whole = tensor(numbers([4, 7]), { shape: [4, 7] })
    const x = distribute(whole, mesh, { model: sharded(1) })
    const before = reads()
    const direct = x.redistribute({ model: replicated() })
    expect(reads() - before).toBe(ranks * (ranks - 1))
    refuseAll()
    const copied = x.redistribute({ model: replicated() })
    expect(reads() - before).toBe(ranks * (ranks - 1))
    for (const y of [direct, copied]) {
      for (const local of y.locals) expect(await local.toArray()).toEqual(await whole.toArray())
    }
  },
)

hostOnly('takes access away')('another dtype is converted while it is read', async () => {
  const source = tensor([1.5, 2.5, 3.5], { device: group.devices[1]! })
  const direct = tensor(new Float64Array(3), { device: group.devices[0]! })
  const before = reads()
  direct.copy_(source)
  expect(reads() - before).toBe(1)
  refuseAll()
  const copied = tensor(new Float64Array(3), { device: group.devices[0]! })
  copied.copy_(source)
  expect(reads() - before).toBe(1)
  expect(await direct.toArray()).toEqual([1.5, 2.5, 3.5])
  expect(await copied.toArray()).toEqual([1.5, 2.5, 3.5])
})

hostOnly('slows devices down')(
  'a peer’s memory is read after it was written and before it is overwritten, freed or used again',
  async () => {
    const [here, there] = group.devices as [string, string]
    const size = 1 << 16
    for (const slow of [0, 1]) {
      faults.setDeviceDelay(slow, 3_000)
      const source = tensor(new Float32Array(size), { device: there })
      source.add_(1) // to be waited for
      const read = tensor(new Float64Array(size), { device: here })
      read.copy_(source)
      source.fill_(7) // to wait for the read
      const freed = tensor(new Float32Array(size), { device: there })
      const second = tensor(new Float64Array(size), { device: here })
      second.copy_(freed.add(2))
      freed.dispose()
      tensor(new Float32Array(size).fill(9), { device: there }) // the freed memory, perhaps
      for (const [t, value] of [
        [read, 1],
        [second, 2],
      ] as const) {
        expect(new Set(Array.from(await t.data(), Number))).toEqual(new Set([value]))
      }
      faults.clear()
    }
  },
)
