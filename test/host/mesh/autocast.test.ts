// Mixed precision over a mesh: parts are computed as one device computes the whole, gradients come back in f32.
import { expect, test } from 'vitest'
import {
  autocast,
  ColumnParallelLinear,
  distribute,
  functional as F,
  openFabric,
  RowParallelLinear,
  sharded,
  tensor,
} from 'weft'
import { several } from '../device.js'
import { numbers } from './reference.js'

test('tensor-parallel layers under bf16 give one device’s product to bf16 accuracy, and f32 gradients', async () => {
  const fabric = await openFabric(several(4))
  using mesh = fabric.mesh({ data: 2, model: 2 })
  const device = mesh.devices[0]!
  const value = (shape: number[], seed: number) => tensor(numbers(shape, seed), { shape, device })
  const [w1, w2, x] = [value([8, 6], 1), value([4, 8], 3), value([4, 6], 10)]
  const axis = { axis: 'model', bias: false }
  using up = new ColumnParallelLinear(mesh, 6, 8, { ...axis, weight: w1 })
  using down = new RowParallelLinear(mesh, 8, 4, { ...axis, weight: w2 })
  const whole = [w1, w2].map((t) => t.requiresGrad_())
  const y = autocast('bf16', () => F.linear(F.linear(x, w1), w2))
  y.sum().backward()
  const spread = autocast('bf16', () => {
    const parts = down.forward(up.forward(distribute(x, mesh, { data: sharded(0) })))
    expect(parts.dtype).toBe('bf16')
    return parts
  })
  spread.sum().backward()
  const [one, many] = [await y.data(), await spread.full().data()]
  for (const [i, value] of one.entries()) {
    expect(Math.abs(Number(many[i]) - Number(value))).toBeLessThan(0.06)
  }
  for (const [i, layer] of [up, down].entries()) {
    for (const local of layer.weight.locals) expect(local.grad!.dtype).toBe('f32')
    expect(whole[i]!.grad!.dtype).toBe('f32')
  }
})
