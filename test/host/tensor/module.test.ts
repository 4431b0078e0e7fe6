// Modules own their tensors: what is registered, saved, loaded, moved and freed, frozen or not.
import { beforeEach, expect, test } from 'vitest'
import {
  arange,
  DisposedError,
  keep,
  memory,
  nn,
  noGrad,
  ones,
  openFabric,
  optim,
  rand,
  ShapeError,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
  UsageError,
  zeros,
} from 'weft'
import { device, elsewhere, several } from '../device.js'

await openFabric(several(2))
setDefaultDevice(device)
const live = () => Object.values(memory()).reduce((sum, each) => sum + each.tensors, 0)
let before = 0
beforeEach(() => {
  before = live()
})

class Net extends nn.Module {
  first = new nn.Linear(3, 4)
  scales = [nn.parameter(ones([2])), nn.parameter(zeros([2]))]
  heads = { left: new nn.Linear(4, 2), right: new nn.Linear(4, 2) }
  hidden: Tensor | undefined
  declare steps: Tensor
  declare mean: Tensor

  constructor() {
    super()
    this.registerBuffer('steps', arange(4, { dtype: 'i64' }))
    this.registerBuffer('mean', rand([4]))
  }

  forward(x: Tensor): Tensor {
    this.hidden = this.first.forward(x).sub(this.mean)
    return this.heads.left.forward(this.hidden).mul(this.scales[0]!).add(this.scales[1]!)
  }
}

const names = [
  'scales.0',
  'scales.1',
  'first.weight',
  'first.bias',
  'heads.left.weight',
  'heads.left.bias',
  'heads.right.weight',
  'heads.right.bias',
]

test('a frozen parameter stays one: named, saved, loaded, freed', async () => {
  const model = new Net()
  model.first.weight.requiresGrad_(false)
  model.scales[0]!.requiresGrad_(false)
  expect(model.namedParameters().map(([name]) => name)).toEqual(names)
  expect(Object.keys(model.stateDict())).toEqual([...names, 'steps', 'mean'])

  const other = new Net()
  other.loadStateDict(model.stateDict())
  expect(await other.first.weight.toArray()).toEqual(await model.first.weight.toArray())
  other.dispose()
  model.dispose()
  expect(live()).toBe(before)
})

test('a parameter that never asked for gradients is made with requiresGrad: false', () => {
  class Frozen extends nn.Module {
    table = nn.parameter(zeros([2, 2]), { requiresGrad: false })
    forward = (): Tensor => this.table
  }
  const model = new Frozen()
  expect(model.namedParameters().map(([name]) => name)).toEqual(['table'])
  expect(model.table.requiresGrad).toBe(false)
  model.dispose()
})

test('a result of forward in a field is no parameter', () => {
  const model = new Net()
  scope(() => {
    model.forward(ones([1, 3]))
    expect(model.hidden!.requiresGrad).toBe(true)
    expect(model.namedParameters().map(([name]) => name)).toEqual(names)
  })
  scope(() => noGrad(() => void model.forward(ones([1, 3]))))
  expect(model.namedParameters().map(([name]) => name)).toEqual(names)
  model.dispose()
  expect(live()).toBe(before)
})

test('a disposed parameter is an error that names it, not a gap in the state', () => {
  const model = new Net()
  model.first.weight.dispose()
  expect(() => model.stateDict()).toThrow(DisposedError)
  expect(() => model.stateDict()).toThrow(/first\.weight/)
  model.dispose()
  expect(live()).toBe(before)
})

test('modules that hold each other are walked once', () => {
  class Knot extends nn.Module {
    weight = nn.parameter(zeros([1]))
    twin: Knot | undefined
    forward = (): Tensor => this.weight
  }
  const one = new Knot()
  one.twin = new Knot()
  one.twin.twin = one
  expect(one.namedParameters().map(([name]) => name)).toEqual(['weight', 'twin.weight'])
  one.dispose()
  expect(live()).toBe(before)
})

test('loadStateDict refuses another shape and then has changed nothing', async () => {
  const model = new nn.Linear(2, 2)
  const weight = await model.weight.toArray()
  scope(() => {
    const state = { weight: zeros([2, 2]), bias: zeros([1]) }
    expect(() => model.loadStateDict(state)).toThrow(ShapeError)
    expect(() => model.loadStateDict(state)).toThrow(/bias.*\[1\].*\[2\]/)
    expect(() => model.loadStateDict({ ...state, bias: [0, 0] as unknown as Tensor })).toThrow(
      UsageError,
    )
  })
  expect(await model.weight.toArray()).toEqual(weight)
  scope(() => model.loadStateDict({ weight: zeros([2, 2]) }, { strict: false }))
  expect(await model.weight.sum().item()).toBe(0)
  model.dispose()
})

test('to() moves parameters and buffers, keeps what is there already, and leaks nothing', async () => {
  const model = new Net()
  model.first.bias!.requiresGrad_(false)
  const tensors = Object.keys(model.stateDict()).length
  expect(live()).toBe(before + tensors)
  const weight = await model.first.weight.toArray()

  scope(() => void model.to({ dtype: 'f64', device: elsewhere }))
  expect(live()).toBe(before + tensors)
  expect(model.first.weight).toMatchObject({ device: elsewhere, dtype: 'f64', requiresGrad: true })
  expect(model.first.bias).toMatchObject({ device: elsewhere, dtype: 'f64', requiresGrad: false })
  expect(model.scales[1]).toMatchObject({ device: elsewhere, isLeaf: true })
  expect(model.steps).toMatchObject({ device: elsewhere, dtype: 'i64' })
  expect(model.mean).toMatchObject({ device: elsewhere, dtype: 'f64' })
  expect(model.namedParameters().map(([name]) => name)).toEqual(names)
  expect(await model.first.weight.toArray()).toEqual(weight)

  const same = model.first.weight
  model.to({ device: elsewhere })
  expect(model.first.weight).toBe(same)
  expect(() => model.to('host:9999')).toThrow()
  expect(model.first.weight).toBe(same)
  expect(() => model.to('i64')).toThrow(/floating/)
  model.dispose()
  expect(live()).toBe(before)
})

test('to() keeps tied weights tied', () => {
  class Tied extends nn.Module {
    table = new nn.Embedding(4, 2)
    head = new nn.Linear(2, 4, { bias: false })
    forward = (x: Tensor): Tensor => this.head.forward(this.table.forward(x))
  }
  const model = new Tied()
  model.head.weight.dispose()
  model.head.weight = model.table.weight
  model.to('f64')
  expect(model.head.weight).toBe(model.table.weight)
  expect(model.head.weight.dtype).toBe('f64')
  model.dispose()
  expect(live()).toBe(before)
})

test('parameters and buffers outlive the scope that made the module', () => {
  let model: Net | undefined
  scope(() => {
    model = new Net()
  })
  expect(model!.steps.disposed).toBe(false)
  expect(model!.mean.disposed).toBe(false)
  model!.dispose()
  expect(live()).toBe(before)
})

test('dispose() twice is one dispose()', () => {
  const model = new Net()
  model.dispose()
  expect(() => model.dispose()).not.toThrow()
  expect(live()).toBe(before)
})

test('an optimizer takes a model with frozen parameters and leaves those alone', async () => {
  const model = new nn.Linear(2, 1)
  const optimizer = optim.adamw(model.parameters(), { lr: 0.1, weightDecay: 0.5 })
  const step = () => {
    scope(() =>
      model
        .forward(ones([1, 2]))
        .sum()
        .backward(),
    )
    optimizer.step()
  }
  step()
  model.weight.requiresGrad_(false) // its gradient of the step before is still there
  const weight = await model.weight.toArray()
  const bias = await model.bias!.item()
  step()
  expect(await model.weight.toArray()).toEqual(weight)
  expect(await model.bias!.item()).not.toBe(bias)

  model.bias!.requiresGrad_(false)
  expect(() => optim.sgd(model.parameters(), { lr: 1 })).toThrow(/requiresGrad/)
  optimizer.dispose()
  model.dispose()
  expect(live()).toBe(before)
})

test('sizes that make no layer are refused by name', () => {
  expect(() => new nn.Linear(0, 2)).toThrow(/Linear: inputs .*0/)
  expect(() => new nn.Linear(2, 1.5)).toThrow(UsageError)
  expect(() => new nn.Embedding(-1, 2)).toThrow(/Embedding: vocabulary/)
  expect(() => new nn.Embedding(2, 2, { std: Number.NaN })).toThrow(/std/)
  expect(() => new nn.LayerNorm(0)).toThrow(/LayerNorm: width/)
  expect(() => new nn.RMSNorm(4, { eps: -1 })).toThrow(/RMSNorm: eps/)
  expect(() => new nn.MultiHeadAttention(8, 0)).toThrow(/heads/)
  expect(live()).toBe(before)
})

test('a buffer is a tensor', () => {
  class Wrong extends nn.Module {
    constructor() {
      super()
      this.registerBuffer('table', [1] as unknown as Tensor)
    }
    forward(): void {}
  }
  expect(() => new Wrong()).toThrow(/table/)
  keep(tensor(1)).dispose()
})
