// A TypeScript task with a schedule and an ending; its parts come from the JavaScript one beside it.
import { defineTask, optim } from 'weft'
import { parts } from './regression.mjs'

export default defineTask({
  ...(parts as Parameters<typeof defineTask>[0]),
  name: 'scheduled',
  unit: 'rows',
  optimizer: (parameters) => optim.sgd(parameters, { lr: 0.1, momentum: 0.9 }),
  schedule: ({ step, totalSteps = 1 }) => (step + 1) / totalSteps,
  finish: ({ model, device, print }) => {
    print(`finished on ${device}\nin ${model.training ? 'training' : 'evaluation'} mode`)
  },
})
