// The programs over several devices give the losses of one device, step by step, and learn; the pipeline's
// devices work at the same time.
import { afterEach, expect, test } from 'vitest'
import { openFabric } from 'weft'
import { faults } from 'weft/testing'
import { train as trainPipeline } from '../../../examples/multigpu/pipeline.js'
import { train as trainParallel } from '../../../examples/multigpu/tensor-parallel.js'
import { onGpu, several } from '../device.js'

afterEach(() => faults.clear())

function expectSameAndFalling(losses: readonly [number, number][]): void {
  for (const [one, many] of losses) expect(Math.abs(one - many)).toBeLessThan(2e-4 * one)
  expect(losses.at(-1)![1]).toBeLessThan(losses[0]![1])
}

test.each([2, 4])('tensor-parallel over %i devices loses what one device loses', async (count) => {
  const lines: string[] = []
  const fabric = await openFabric(several(count))
  const losses = await trainParallel(fabric, 4, (line) => lines.push(line as string))
  expectSameAndFalling(losses)
  expect(lines.at(-1)).toBe('DistributedTensor([128, 32], f32, { model: sharded(0) })')
})

test('a pipeline over four devices loses what one device loses, its stages at work at once', async () => {
  const fabric = await openFabric(several(4))
  // Tasks that take a while each, so that they overlap however few cores there are.
  if (!onGpu) for (let r = 0; r < 4; r++) faults.setDeviceDelay(r, 500)
  const { losses, overlapped } = await trainPipeline(fabric, 2, () => {})
  expectSameAndFalling(losses)
  if (!onGpu) expect(overlapped).toBeGreaterThan(0.25) // 0.34 at rest, 0 where stages take turns
})
