// Devices, links, memory figures, streams.
import { expect, test } from 'vitest'
import {
  createStream,
  currentStream,
  DeviceError,
  functional as F,
  memory,
  ones,
  openFabric,
  setDefaultDevice,
  streamWait,
  UsageError,
  withStream,
  zeros,
} from 'weft'
import { device, elsewhere, onGpu, several, severalNames } from '../device.js'

setDefaultDevice(device)

test('devices are described', async () => {
  const fabric = await openFabric(several(4))
  expect(fabric.devices.map((d) => d.name)).toEqual(severalNames(4))
  for (const [i, each] of fabric.devices.entries()) {
    expect(each).toMatchObject(
      onGpu ? { driver: 'cuda', virtualIndex: i } : { driver: 'host', virtualIndex: -1 },
    )
    expect(each.totalBytes).toBeGreaterThan(0)
  }
  expect(fabric.device(severalNames(4)[2]!).ordinal).toBe(onGpu ? fabric.devices[0]!.ordinal : 2)
  expect(() => fabric.device('host:9')).toThrow(DeviceError)
})

test('links in both directions and a ring through all', async () => {
  const fabric = await openFabric(several(3))
  const { links, ring, devices, cliques } = fabric.topology()
  expect(links).toHaveLength(6)
  const kind = onGpu ? 'self' : 'memory'
  expect(links.every((link) => link.kind === kind && link.peerAccess)).toBe(true)
  expect([...ring].sort()).toEqual([...devices].sort())
  expect(cliques).toEqual([devices])
})

test.runIf((await openFabric()).devices[0]!.driver === 'host')('no GPU says why', async () => {
  await expect(openFabric({ devices: 'cuda' })).rejects.toThrow(DeviceError)
})

test('a name opens that device alone', async () => {
  const [, name] = severalNames(2) as [string, string]
  const fabric = await openFabric({ ...several(2), devices: name })
  expect(fabric.devices.map((each) => each.name)).toEqual([name])
})

test('openFabric refuses what it does not know, and opens nothing', async () => {
  const wrong = (options: object) => expect(openFabric(options)).rejects
  await wrong({ device: 'host:0' }).toThrow(UsageError)
  await wrong({ device: 'host:0' }).toThrow(/no option device; it has devices, virtual, log/)
  await wrong({ devices: 4 }).toThrow(UsageError)
  await wrong({ virtual: -1 }).toThrow(UsageError)
  await wrong({ log: 'loud' }).toThrow(/use off, basic, timing/)
  await wrong(null as unknown as object).toThrow(UsageError)
})

test.each([-1, 0, Number.NaN, 2 ** 31, '5'])(
  'a deadline of %j ms is refused',
  async (timeoutMs) => {
    const fabric = await openFabric(several(1))
    await expect(fabric.synchronize({ timeoutMs: timeoutMs as number })).rejects.toThrow(
      /timeoutMs must be milliseconds above 0/,
    )
  },
)

test('memory counts tensors and bytes', async () => {
  const fabric = await openFabric(several(2))
  const before = memory()[elsewhere]!
  const x = zeros([1000], { device: elsewhere })
  const during = memory()[elsewhere]!
  expect(during.tensors - before.tensors).toBe(1)
  expect(during.bytes - before.bytes).toBe(4000)
  x.dispose()
  expect(memory()[elsewhere]!.bytes).toBe(before.bytes)
  const stats = fabric.stats()
  expect(stats.devices.map((d) => d.name)).toEqual(severalNames(2))
  const blocks = fabric.memorySnapshot(elsewhere).flatMap((segment) => segment.blocks)
  expect(blocks.length).toBeGreaterThan(0)
})

test('block snapshots name operators', async () => {
  const fabric = await openFabric(several(1))
  using x = F.matmul(ones([64, 64]), ones([64, 64]))
  const live = fabric
    .memorySnapshot(device)
    .flatMap((s) => s.blocks.filter((b) => b.state === 'live'))
  expect(live.map((block) => block.operator)).toContain('matmul')
  expect(x.shape).toEqual([64, 64])
})

test('streams: chosen, ordered, restored', async () => {
  const side = createStream(device)
  const main = currentStream(device)
  const x = ones([1000])
  streamWait(side, main)
  const y = withStream(side, () => {
    expect(currentStream(device).id).toBe(side.id)
    return x.add(1)
  })
  expect(currentStream(device)).toEqual(main)
  streamWait(main, side)
  expect(await y.sum().item()).toBe(2000)
  expect(() => withStream(side, async () => {})).toThrow(UsageError)
  expect(() => withStream({ device, id: 999 }, () => 1)).toThrow(UsageError)
})
