// Tensor-parallel layers train as the layers on one device do, and replicated parameters stay the same bits.
import { expect, test } from 'vitest'
import {
  ColumnParallelLinear,
  distribute,
  functional as F,
  openFabric,
  optim,
  RowParallelLinear,
  reduceGradients,
  scope,
  sharded,
  type Tensor,
  tensor,
} from 'weft'
import { several } from '../device.js'
import { expectClose, numbers } from './reference.js'

test('a column- and a row-parallel layer train as two layers on one device, bit-equal on the copies', async () => {
  const fabric = await openFabric(several(4))
  using mesh = fabric.mesh({ data: 2, model: 2 })
  const device = mesh.devices[0]!
  const value = (shape: number[], seed: number) => tensor(numbers(shape, seed), { shape, device })
  const [w1, b1] = [value([7, 6], 1), value([7], 2)]
  const [w2, b2] = [value([5, 7], 3), value([5], 4)]
  using up = new ColumnParallelLinear(mesh, 6, 7, {
    axis: 'model',
    gelu: true,
    weight: w1,
    biasValues: b1,
  })
  using down = new RowParallelLinear(mesh, 7, 5, { axis: 'model', weight: w2, biasValues: b2 })
  const parameters = [...up.parameters(), ...down.parameters()]
  const optimizers = mesh.devices.map((_, p) =>
    optim.adamw(
      parameters.map((parameter) => parameter.local(p)),
      { lr: 1e-2 },
    ),
  )
  const whole = [w1, b1, w2, b2].map((t) => t.requiresGrad_())
  const reference = optim.adamw(whole, { lr: 1e-2 })
  for (let step = 0; step < 3; step++) {
    const x = value([3, 6], 10 + step)
    const loss = (y: Tensor) => y.mul(y).sum()
    loss(F.linear(F.linear(x, w1, b1, { gelu: true }), w2, b2)).backward()
    reference.step()
    reference.zeroGrad()
    scope(() => {
      const y = down.forward(up.forward(distribute(x, mesh, { data: sharded(0) })))
      y.mul(y).sum().backward()
      reduceGradients(parameters)
      for (const optimizer of optimizers) {
        optimizer.step()
        optimizer.zeroGrad()
      }
    })
  }
  for (const [i, parameter] of parameters.entries()) {
    expectClose(await parameter.toArray(), await whole[i]!.toArray(), `parameter ${i}`)
    const [a, b] = [parameter.local(0), parameter.local(2)] // copies along the data axis
    expect(await a.toArray()).toEqual(await b.toArray())
  }
  for (const optimizer of [...optimizers, reference]) optimizer.dispose()
})
