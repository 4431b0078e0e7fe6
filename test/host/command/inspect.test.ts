// How a tensor shows itself: console.log at once, print() and format() when the device has the values.
import { inspect } from 'node:util'
import { afterEach, expect, test, vi } from 'vitest'
import { format, print, setDefaultDevice, synchronize, type Tensor, tensor, zeros } from 'weft'
import { faults } from 'weft/testing'
import { device, hostOnly, ordinal } from '../device.js'

setDefaultDevice(device)
afterEach(() => {
  faults.clear()
  vi.restoreAllMocks()
})
const values = hostOnly('values lie in host memory')

/** Until `x` shows its values: a stream may have told of its last task and not counted it yet. */
async function settled(x: Tensor): Promise<void> {
  await synchronize(device)
  await vi.waitFor(() => expect(inspect(x)).not.toContain('await x.print()'))
}

values('console.log shows values that lie ready', async () => {
  const x = tensor([
    [1, 2],
    [3, 4.5],
  ])
  const flags = tensor([true, false])
  await settled(x)
  expect(inspect(x)).toBe(`[[1, 2],\n [3, 4.5]]\nTensor([2, 2], f32, ${device})`)
  expect(inspect({ flags })).toContain('[true, false]')
  expect(inspect(tensor(2n))).toContain('i64')
  x.dispose()
  expect(inspect(x)).toBe('Tensor(disposed)')
})

values('console.log does not wait for a busy device: it says how to see the values', async () => {
  const x = zeros([2])
  await settled(x)
  faults.setDeviceDelay(ordinal, 20_000)
  x.add_(1)
  expect(inspect(x)).toBe(`Tensor([2], f32, ${device}) (await x.print() shows values)`)
  faults.clear()
  await settled(x)
  expect(inspect(x)).toContain('[1, 1]')
})

values('console.log shows views in their own order, and halves', async () => {
  const x = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ])
  const [f16, bf16] = [x.to('f16').div(2), x.to('bf16').t()]
  const empty = zeros([0, 2])
  await settled(bf16)
  expect(inspect(x.t())).toContain('[[1, 4],\n [2, 5],\n [3, 6]]')
  expect(inspect(x.select(1, 1))).toContain('[2, 5]')
  expect(inspect(x.select(0, 0).expand([2, 3]))).toContain('[[1, 2, 3],\n [1, 2, 3]]')
  expect(inspect(f16)).toContain('[[0.5, 1, 1.5],\n [2, 2.5, 3]]')
  expect(inspect(bf16)).toContain('[[1, 4],\n [2, 5],\n [3, 6]]')
  expect(inspect(empty)).toContain(`Tensor([0, 2], f32, ${device})`)
})

test('a large tensor shows no values', async () => {
  const large = zeros([100, 100])
  await synchronize(device)
  expect(inspect(large)).toContain('await x.print()')
})

test('print() writes what format() resolves to', async () => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  const x = tensor([1, 2])
  const text = `[1, 2]\nTensor([2], f32, ${device})`
  expect(await x.format()).toBe(text)
  expect(await format(x)).toBe(text)
  await x.print()
  await print(x)
  expect(log.mock.calls).toEqual([[text], [text]])
})
