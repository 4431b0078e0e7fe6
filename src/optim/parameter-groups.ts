// Parameter groups by name, as weight decay and layer-wise rates need them. Tasks call it with what their
// `optimizer` is given.
import { UsageError } from '../native/errors.js'
import type { Tensor } from '../tensor/tensor.js'
import type { ParameterGroup } from './optimizer.js'

/** Parameters whose names match, and the options that they have of their own. */
export interface GroupRule<O> {
  /** A part of the name, or a pattern. */
  match: string | RegExp
  options: Partial<O>
}

/**
 * Groups of `named` parameters: each goes to the first rule that its name matches, the others to a group with the
 * optimizer's own options.
 *
 *     optimizer: (_, named) =>
 *       optim.adamw(optim.parameterGroups(named, [{ match: /bias|norm/, options: { weightDecay: 0 } }]), { lr: 1e-3 })
 *
 * @throws UsageError  a rule that no parameter goes by
 */
export function parameterGroups<O>(
  named: readonly (readonly [string, Tensor])[],
  rules: readonly GroupRule<O>[],
): ParameterGroup<O>[] {
  if (!Array.isArray(named) || !Array.isArray(rules)) {
    throw new UsageError('parameterGroups takes named parameters and a list of { match, options }')
  }
  const groups = rules.map(({ options }): ParameterGroup<O> => ({ params: [], options }))
  const others: Tensor[] = []
  for (const [name, tensor] of named) {
    const at = rules.findIndex(({ match }) =>
      typeof match === 'string' ? name.includes(match) : name.search(match) >= 0,
    )
    ;(groups[at]?.params ?? others).push(tensor)
  }
  for (const [at, { match }] of rules.entries()) {
    if (groups[at]!.params.length > 0) continue
    const names = named.map(([name]) => name)
    throw new UsageError(
      `parameterGroups: no parameter goes by ${String(match)}; there are ${names.slice(0, 12).join(', ')}`,
      { names },
    )
  }
  return others.length > 0 ? [...groups, { params: others }] : groups
}
