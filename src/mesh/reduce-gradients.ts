// Gradients of replicated parameters are terms of a sum (distributed-tensor.ts). reduceGradients() sums
// them, so that an optimizer on each device updates its copies alike; programs call it after backward().
import { noGrad } from '../autograd/no-grad.js'
import { Module } from '../nn/module.js'
import { placesOf } from '../nn/module-fields.js'
import { DistributedTensor } from './distributed-tensor.js'
import { replicated } from './placement.js'

/** The distributed parameters of a model, each once. */
function distributedParameters(model: Module): Iterable<DistributedTensor> {
  const all = model.namedModules().flatMap(([, each]) => placesOf(each, DistributedTensor))
  return new Set(all.map(({ value }) => value))
}

/**
 * Sums the gradients of each parameter, or of each distributed one of a model, along the axes where it is
 * replicated: afterwards `local(p).grad` is the gradient that belongs to part p, the same bits on every copy. Call
 * it once, after the last backward pass of a step and before the optimizers. Enqueues, never waits.
 */
export function reduceGradients(parameters: Iterable<DistributedTensor> | Module): void {
  const list = parameters instanceof Module ? distributedParameters(parameters) : parameters
  noGrad(() => {
    for (const parameter of list) {
      const { grad } = parameter
      if (grad === null) continue
      const terms = parameter.mesh.axes.filter((_, a) => grad.placed[a]?.kind === 'partial')
      if (terms.length === 0) continue
      const whole = grad.redistribute(Object.fromEntries(terms.map((axis) => [axis, replicated()])))
      whole.locals.forEach((part, p) => {
        parameter.local(p).grad = part
      })
      whole.dispose()
    }
  })
}
