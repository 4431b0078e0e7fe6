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
  streamWait,
  UsageError,
  withStream,
  zeros,
} from 'weft'

test('devices are described', async () => {
  const fabric = await openFabric({ devices: 'host:4' })
  expect(fabric.devices.map((d) => d.name)).toEqual(['host:0', 'host:1', 'host:2', 'host:3'])
  for (const device of fabric.devices) {
    expect(device).toMatchObject({ driver: 'host', virtualIndex: -1 })
    expect(device.totalBytes).toBeGreaterThan(0)
  }
  expect(fabric.device('host:2').ordinal).toBe(2)
  expect(() => fabric.device('host:9')).toThrow(DeviceError)
})

test('links in both directions and a ring through all', async () => {
  const fabric = await openFabric({ devices: 'host:3' })
  const { links, ring, devices } = fabric.topology()
  expect(links).toHaveLength(6)
  expect(links.every((link) => link.kind === 'memory' && link.peerAccess)).toBe(true)
  expect([...ring].sort()).toEqual([...devices].sort())
})

test.runIf((await openFabric()).devices[0]!.driver === 'host')('no GPU says why', async () => {
  await expect(openFabric({ devices: 'cuda' })).rejects.toThrow(DeviceError)
})

test('memory counts tensors and bytes', async () => {
  const fabric = await openFabric({ devices: 'host:2' })
  const before = memory()['host:1']!
  const x = zeros([1000], { device: 'host:1' })
  const during = memory()['host:1']!
  expect(during.tensors - before.tensors).toBe(1)
  expect(during.bytes - before.bytes).toBe(4000)
  x.dispose()
  expect(memory()['host:1']!.bytes).toBe(before.bytes)
  const stats = fabric.stats()
  expect(stats.devices.map((d) => d.name)).toEqual(['host:0', 'host:1'])
  const blocks = fabric.memorySnapshot('host:1').flatMap((segment) => segment.blocks)
  expect(blocks.length).toBeGreaterThan(0)
})

test('block snapshots name operators', async () => {
  const fabric = await openFabric({ devices: 'host:1' })
  using x = F.matmul(ones([64, 64]), ones([64, 64]))
  const live = fabric
    .memorySnapshot('host:0')
    .flatMap((s) => s.blocks.filter((b) => b.state === 'live'))
  expect(live.map((block) => block.operator)).toContain('matmul')
  expect(x.shape).toEqual([64, 64])
})

test('streams: chosen, ordered, restored', async () => {
  const side = createStream('host:0')
  const main = currentStream('host:0')
  const x = ones([1000])
  streamWait(side, main)
  const y = withStream(side, () => {
    expect(currentStream('host:0').id).toBe(side.id)
    return x.add(1)
  })
  expect(currentStream('host:0')).toEqual(main)
  streamWait(main, side)
  expect(await y.sum().item()).toBe(2000)
  expect(() => withStream(side, async () => {})).toThrow(UsageError)
  expect(() => withStream({ device: 'host:0', id: 999 }, () => 1)).toThrow(UsageError)
})
