// Is this installation alive? Open devices, compute, differentiate, reduce over devices, read back.
import { expect, test } from 'vitest'
import { openFabric, scope, tensor } from 'weft'

test('a gradient on one device, an all-reduce over four', async () => {
  const fabric = await openFabric({ devices: 'host:0-3' })
  const x = tensor([1, 2, 3], { device: 'host:1', requiresGrad: true })
  const loss = scope(() => x.mul(x).sum())
  loss.backward()
  expect(await loss.item()).toBe(14)
  expect(await x.grad!.toArray()).toEqual([2, 4, 6])

  const parts = fabric.devices.map((device, rank) => tensor([rank, 1], { device: device.name }))
  using group = fabric.group()
  await group.allReduce(parts).done
  for (const part of parts) expect(await part.toArray()).toEqual([6, 4])
})
