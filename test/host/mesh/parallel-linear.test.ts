// Tensor-parallel layers train as the layers on one device do, and replicated parameters stay the same bits.
import { expect, test } from 'vitest'
import {
  ColumnParallelLinear,
  DtypeError,
  distribute,
  functional as F,
  nn,
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
  const parameters = [up.weight, up.bias!, down.weight, down.bias!]
  const model = new nn.Sequential(up, down)
  const optimizers = mesh.devices.map((device) =>
    optim.adamw(
      model.parameters().filter((parameter) => parameter.device === device),
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
      reduceGradients(model)
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

test('parallel layers are modules: parameters by part, state dict, dtype, frozen, disposed; devices stay', async () => {
  const fabric = await openFabric(several(2))
  using mesh = fabric.mesh({ model: 2 })
  class Block extends nn.Module {
    up = new ColumnParallelLinear(mesh, 3, 5, { axis: 'model' })
    down = new RowParallelLinear(mesh, 5, 3, { axis: 'model', bias: false })
    forward(x: Tensor): Tensor {
      return this.down.forward(this.up.forward(distribute(x, mesh)).relu()).full()
    }
  }
  using block = new Block()
  const names = [
    'up.weight.0',
    'up.weight.1',
    'up.bias.0',
    'up.bias.1',
    'down.weight.0',
    'down.weight.1',
  ]
  expect(block.namedParameters().map(([name]) => name)).toEqual(names)
  expect(block.parameters().map(({ device }) => device)).toEqual([
    ...[...mesh.devices, ...mesh.devices, ...mesh.devices],
  ])
  expect(block.up.weight.locals.map(({ shape }) => shape)).toEqual([
    [3, 3],
    [2, 3],
  ])

  // A second block takes over the state, and computes the same.
  using other = new Block()
  other.loadStateDict(block.stateDict())
  const x = tensor(numbers([4, 3]), { shape: [4, 3], device: mesh.devices[0]! })
  expect(await other.forward(x).toArray()).toEqual(await block.forward(x).toArray())
  expect(() => other.loadStateDict({})).toThrow(/missing up\.weight\.0/)

  // Another dtype keeps every part on its device; another device is refused, and nothing changed.
  expect(() => block.to({ dtype: 'i32' as 'f32' })).toThrow(DtypeError)
  expect(() => block.to({ device: mesh.devices[1]! })).toThrow(
    /up\.weight\.0 is part of a tensor over several devices and stays on/,
  )
  expect(block.up.weight.dtype).toBe('f32')
  block.to({ dtype: 'f64' })
  expect(block.up.weight.dtype).toBe('f64')
  expect(block.parameters().map(({ device }) => device)).toEqual(
    other.parameters().map(({ device }) => device),
  )
  expectClose(
    await block.forward(x.to('f64')).toArray(),
    await other.forward(x).toArray(),
    'in f64',
  )

  block.forward(x.to('f64')).sum().backward()
  expect(block.parameters().every(({ grad }) => grad !== null)).toBe(true)
  block.zeroGrad()
  expect(block.parameters().every(({ grad }) => grad === null)).toBe(true)
  const parts = block.parameters()
  block.dispose()
  expect(parts.every(({ disposed }) => disposed)).toBe(true)
})
