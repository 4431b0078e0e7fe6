// What an optimizer's state dict holds, and the checks before one is loaded. Optimizer calls them; the trainer
// saves state dicts in checkpoints.
import { ShapeError, UsageError } from '../native/errors.js'
import { Tensor } from '../tensor/tensor.js'

/** All that an optimizer knows besides its parameters and options. */
export interface OptimizerState {
  /** Which optimizer: 'adamw', 'sgd'. */
  kind: string
  /** Steps taken. */
  steps: number
  /** Numbers, by '<group>.<parameter>.<name>'. */
  counts: Record<string, number>
  /** Tensors, by '<group>.<parameter>.<name>'; they stay the optimizer's. */
  tensors: Record<string, Tensor>
}

/** State of one parameter: its tensors and numbers by name. */
export interface ParameterState {
  group: number
  parameter: number
  tensors: Record<string, Tensor>
  counts: Record<string, number>
}

/**
 * The state of each parameter, checked: the kind, that each has exactly the tensors and counts that the optimizer
 * keeps, in the parameter's shape. Throws UsageError or ShapeError naming what does not fit.
 */
export function parameterStates(
  state: OptimizerState,
  kind: string,
  groups: readonly { params: readonly Tensor[] }[],
  names: { tensors: readonly string[]; counts: readonly string[] },
): ParameterState[] {
  if (state.kind !== kind) {
    throw new UsageError(`loadStateDict: the state is of ${state.kind}, the optimizer is ${kind}`)
  }
  if (!Number.isSafeInteger(state.steps) || state.steps < 0) {
    throw new UsageError(`loadStateDict: steps must be a whole number, not ${String(state.steps)}`)
  }
  const states = new Map<string, ParameterState>()
  const at = (key: string, known: readonly string[]) => {
    const [, g = '', p = '', name = ''] = /^(\d+)\.(\d+)\.(\w+)$/.exec(key) ?? []
    const parameter = groups[Number(g)]?.params[Number(p)]
    if (parameter === undefined || !known.includes(name)) {
      throw new UsageError(`loadStateDict: ${kind} has no state ${key}`)
    }
    const place = `${g}.${p}`
    const entry = states.get(place) ?? {
      group: Number(g),
      parameter: Number(p),
      tensors: {},
      counts: {},
    }
    states.set(place, entry)
    return { entry, name, parameter }
  }
  for (const [key, tensor] of Object.entries(state.tensors)) {
    const { entry, name, parameter } = at(key, names.tensors)
    if (!(tensor instanceof Tensor)) throw new UsageError(`loadStateDict: ${key} must be a Tensor`)
    if (tensor.shape.join() !== parameter.shape.join()) {
      throw new ShapeError(
        `loadStateDict: ${key} has shape [${tensor.shape.join(', ')}], its parameter [${parameter.shape.join(', ')}]`,
      )
    }
    entry.tensors[name] = tensor
  }
  for (const [key, count] of Object.entries(state.counts)) {
    const { entry, name } = at(key, names.counts)
    if (!Number.isSafeInteger(count) || count < 0) {
      throw new UsageError(`loadStateDict: ${key} must be a whole number, not ${String(count)}`)
    }
    entry.counts[name] = count
  }
  for (const [place, { tensors, counts }] of states) {
    const missing = [
      ...names.tensors.filter((name) => !(name in tensors)),
      ...names.counts.filter((name) => !(name in counts)),
    ]
    if (missing.length === 0) continue
    throw new UsageError(`loadStateDict: ${place} lacks ${missing.join(', ')}`)
  }
  return [...states.values()]
}
