// The regression with one part that returns what it must not, which WEFT_TEST_PART names. Worker threads
// see the environment of the moment in which they were started.
import { defineTask } from 'weft'
import { parts, shares, squaredError } from './regression.mjs'

const kind = process.env.WEFT_TEST_PART ?? 'none'

/** The data with each batch changed. */
async function* changed(request, change) {
  for await (const batch of shares(request)) yield change(batch)
}

const batches = {
  'batch-array': () => [1, 2, 3],
  'batch-number': () => 3,
  'batch-empty': () => ({}),
  'entry-array': ({ y }) => ({ x: [1, 2, 3], y }),
  'entry-undefined': ({ x }) => ({ x, y: undefined }),
  'entry-plain-data': ({ y }) => ({ x: { data: [1, 2], shape: [2] }, y }),
  'entry-shape': ({ x, y }) => ({ x: { data: x.data, shape: 3 }, y }),
  'entry-length': ({ x, y }) => ({ x: { data: x.data, shape: [1, 2] }, y }),
}

const changes = {
  'model-plain': { model: () => ({ forward: (x) => x }) },
  'model-undefined': { model: () => undefined },
  'optimizer-undefined': { optimizer: () => undefined },
  'optimizer-lr': {
    optimizer: (p) => Object.create(parts.optimizer(p), { lr: { value: '1e-3' } }),
  },
  'schedule-nan': { schedule: ({ step }) => (step < 2 ? 1 : Number.NaN) },
  'schedule-undefined': { schedule: () => {} },
  'loss-undefined': { loss: () => undefined },
  'loss-number': { loss: () => 0.5 },
  'loss-async': { loss: async (model, batch) => squaredError(model, batch).mean() },
  'loss-many': { loss: squaredError },
  'data-number': { data: () => 7 },
  'evaluate-text': { evaluate: () => ({ error: 'small', count: 1 }) },
  'evaluate-async': { evaluate: async () => ({ error: 1, count: 1 }) },
  'evaluate-many': {
    evaluate: (model, batch) => ({ error: squaredError(model, batch), count: 8 }),
  },
  'schedule-throws': {
    schedule: () => {
      throw new RangeError('no rate')
    },
  },
  'optimizer-throws': {
    optimizer: (p) =>
      Object.assign(parts.optimizer(p), {
        step: () => {
          throw new RangeError('no step')
        },
      }),
  },
  'finish-throws': {
    finish: () => {
      throw new RangeError('no end')
    },
  },
  // Breaks what weft itself uses between two parts of the task.
  sabotage: {
    schedule: ({ step }) => {
      if (step === 1) Atomics.store = undefined
      return 1
    },
  },
}

export default defineTask({
  ...parts,
  name: kind,
  data: batches[kind] ? (request) => changed(request, batches[kind]) : parts.data,
  ...changes[kind],
})
