// The resumable task with a look at its steps, a branch that only some ranks use, and groups by name.
// WEFT_TEST_WATCH: 'branch': a layer that only rank 1 uses; 'never': one that none uses.
import { appendFileSync } from 'node:fs'
import { defineTask, nn, optim } from 'weft'
import resumable from './resumable.mjs'

const what = process.env.WEFT_TEST_WATCH ?? 'none'
const log = process.env.WEFT_TEST_LOG

class Net extends nn.Module {
  constructor() {
    super()
    this.main = new nn.Linear(8, 16)
    this.side = new nn.Linear(16, 16, { bias: false })
    this.last = new nn.Linear(16, 1)
    this.calls = 0
    this.useSide = !['branch', 'never'].includes(what)
  }

  forward(x) {
    const hidden = this.main.forward(x).tanh()
    return this.last.forward(this.useSide ? hidden.add(this.side.forward(hidden)) : hidden)
  }
}

const write = (record) => log && appendFileSync(log, `${JSON.stringify(record)}\n`)

export default defineTask({
  ...resumable,
  name: 'watched',
  model: () => new Net(),
  schedule: undefined,
  loss: (model, { x, y }) => {
    const loss = model.forward(x).sub(y).pow(2).mean()
    if (what === 'names') return { loss, metrics: { [`m${Math.floor(model.calls++ / 2)}`]: 1 } }
    if (what === 'text') return { loss, metrics: { size: 'big' } }
    return { loss, metrics: { double: loss.mul(2), rows: x.shape[0] } }
  },
  optimizer: (_, named) => {
    const groups = optim.parameterGroups(named, [
      { match: /bias$/, options: { weightDecay: 0 } },
      { match: 'last', options: { lr: 0.002 } },
    ])
    write({ groups: groups.map(({ params, options }) => [params.length, options ?? null]) })
    return optim.adamw(groups, { lr: 0.01, weightDecay: 0.1 })
  },
  beforeStep: ({ model, rank, step }) => {
    if (what === 'branch') model.useSide = rank === 1
    if (what === 'throw' && step === 3) throw new RangeError('not this one')
  },
  afterStep: ({ model, optimizer, batches, step, epoch, rank, device }) => {
    write({
      step,
      epoch,
      rank,
      device,
      batches: batches.length,
      rows: batches[0].x.shape[0],
      layers: model.namedChildren().length,
      taken: optimizer.steps,
    })
    model.last.weight.mul(2) // what is made here is freed
  },
})
