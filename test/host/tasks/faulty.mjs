// The regression with one fault, which WEFT_TEST_FAULT names as kind:rank:step. Worker threads see the
// environment of the moment in which they were started.
import { defineTask, tensor, zeros } from 'weft'
import { faults } from 'weft/testing'
import { parts, shares, squaredError } from './regression.mjs'

const [kind, rankText, stepText] = (process.env.WEFT_TEST_FAULT ?? 'none').split(':')
const faultRank = Number(rankText)
const faultStep = Number(stepText)
let rank = -1
let step = 0
const due = (...kinds) => kinds.includes(kind) && rank === faultRank && step === faultStep

/** Never comes back by itself. */
function hang() {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

const inLoss = {
  throw: () => {
    throw new RangeError('the task is broken')
  },
  exit: () => process.exit(3),
  uncaught: () => {
    setImmediate(() => {
      throw new Error('nobody caught this')
    })
  },
  hang,
  'wait-to-be-killed': () => {
    new BroadcastChannel('weft-test').postMessage('waiting')
    hang()
  },
  shape: (batch) => batch.x.add(zeros([3, 5])),
  dtype: () => tensor([1, 2], { dtype: 'i64', requiresGrad: true }),
  device: (batch) => batch.x.add(zeros([1], { device: 'host:7' })),
  disposed: (batch) => {
    batch.x.dispose()
    batch.x.sum()
  },
  'illegal-address': (batch) => faults.illegalAddress(batch.x.device),
  memory: () => {
    faults.failAllocations(faultRank, 1_000)
    zeros([1 << 24])
  },
}

async function* faultyData(request) {
  let batches = 0
  for await (const batch of shares(request, kind === 'sizes' ? shorten : undefined)) {
    if (kind === 'data-ends' && rank === faultRank && batches === faultStep) return
    if (kind === 'data-throws' && rank === faultRank && batches === faultStep) {
      throw new TypeError('the data is broken')
    }
    batches++
    yield batch
  }
}

const shorten = (rows) => (rank === faultRank ? rows.slice(1) : rows)

export default defineTask({
  ...parts,
  name: `faulty-${kind}`,
  model: () => {
    if (kind === 'model-throws') throw new Error('no such layer')
    const model = parts.model()
    if (kind === 'unused') model.spare = zeros([3]).requiresGrad_()
    return model
  },
  data: (request) => {
    rank = request.rank
    if (kind === 'no-data') return []
    return kind.startsWith('data-') || kind === 'sizes' ? faultyData(request) : shares(request)
  },
  loss: (model, batch) => {
    step++
    if (inLoss[kind] && due(kind)) inLoss[kind](batch)
    const loss = squaredError(model, batch).mean()
    if (due('nan')) return loss.mul(Number.NaN)
    if (due('not-scalar')) return squaredError(model, batch)
    if (due('version')) {
      const saved = model.last.weight.mul(2)
      const product = saved.mul(saved)
      saved.detach().mul_(3)
      return loss.add(product.sum())
    }
    return loss
  },
  evaluate: kind === 'no-count' ? () => ({ error: 1 }) : parts.evaluate,
})
