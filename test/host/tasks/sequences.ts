// A task of token sequences in TypeScript, with one fault that WEFT_TEST_FAULT names.
import { defineTask, nn, optim, type Tensor, zeros } from 'weft'

const length = 16
const fault: string = process.env['WEFT_TEST_FAULT'] ?? 'none'

class Mean extends nn.Module {
  weight = nn.parameter(zeros([length]))

  forward(tokens: Tensor): Tensor {
    return tokens.to('f32').mul(this.weight).sub(1).pow(2).mean()
  }
}

function page(): never {
  throw new RangeError('no such page')
}

function words(): never {
  try {
    return page()
  } catch (cause) {
    throw new Error('the words are gone', { cause })
  }
}

export default defineTask({
  name: 'sequences',
  unit: 'sequences',
  tokensPerSample: length,
  defaults: { batchSize: 2, logEvery: 2 },
  model: () => {
    if (fault === 'model') return (undefined as never)['weights']
    return new Mean()
  },
  data: () =>
    Array.from({ length: 8 }, (_, i) => ({
      tokens: { data: new Int32Array(2 * length).fill(i), shape: [2, length] },
    })),
  loss: (model, { tokens }) => {
    if (fault === 'throw') words()
    if (fault === 'shape') return tokens.add(zeros([3, 5]))
    return model.forward(tokens)
  },
  optimizer: (parameters) => optim.sgd(parameters, { lr: 0.01 }),
})
