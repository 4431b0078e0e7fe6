// Operators over whole rows of a distributed tensor: softmax, norms, cross entropy. The dimension they run
// along must be whole; the others may be cut. Cross entropy over cut rows gives terms; its mean divides them by the
// rows that count, which the devices add up.
import { ShapeError } from '../../native/errors.js'
import {
  crossEntropy,
  layerNorm,
  logSoftmax,
  ne,
  rmsNorm,
  softmax,
} from '../../tensor/generated/functions.js'
import {
  type LinearCrossEntropyOptions,
  linearCrossEntropy,
} from '../../tensor/operators/linear-cross-entropy.js'
import { scope } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import { apply } from '../apply.js'
import type { DistributedTensor } from '../distributed-tensor.js'
import type { Placement } from '../placement.js'
import { partial, replicated } from '../placement.js'
import { dimAt } from './dims.js'
import { unary } from './elementwise.js'
import { distributedSum } from './reduction.js'

/** Along one axis: x cut anywhere but at `row`, everything else whole. */
function rowRule(row: number) {
  return ([x, ...rest]: readonly Placement[]): Placement | undefined => {
    if (!rest.every((p) => p.kind === 'replicated')) return undefined
    if (x?.kind === 'sharded') return x.dim === row ? undefined : x
    return x?.kind === 'replicated' ? replicated() : undefined
  }
}

/** exp(x) / sum(exp(x)) along `dim`. */
export function distributedSoftmax(x: DistributedTensor, dim = -1): DistributedTensor {
  return alongRow('softmax', x, dim, softmax)
}

/** log(softmax(x)) along `dim`. */
export function distributedLogSoftmax(x: DistributedTensor, dim = -1): DistributedTensor {
  return alongRow('logSoftmax', x, dim, logSoftmax)
}

function alongRow(
  name: string,
  x: DistributedTensor,
  dim: number,
  fn: (local: Tensor, dim: number) => Tensor,
): DistributedTensor {
  const row = dimAt(name, dim, x.shape.length)
  return apply(
    {
      name,
      operands: ['x'],
      shape: x.shape,
      rule: rowRule(row),
      compute: ([local]) => fn(local as Tensor, row),
    },
    [x],
  )
}

/** Normalises the last dimension, then weight and bias (features,). */
export function distributedLayerNorm(
  x: DistributedTensor,
  weight?: DistributedTensor | null,
  bias?: DistributedTensor | null,
  options: { eps?: number } = {},
): DistributedTensor {
  const given = [x, ...(weight ? [weight] : []), ...(bias ? [bias] : [])]
  const at = weight ? 2 : 1
  return apply(
    {
      name: 'layerNorm',
      operands: ['x', ...(weight ? ['weight'] : []), 'bias'],
      shape: x.shape,
      rule: rowRule(x.shape.length - 1),
      compute: (t) => layerNorm(t[0] as Tensor, weight && t[1], bias && t[at], options),
    },
    given,
  )
}

/** Divides the last dimension by its root mean square, then weight (features,). */
export function distributedRmsNorm(
  x: DistributedTensor,
  weight?: DistributedTensor | null,
  options: { eps?: number } = {},
): DistributedTensor {
  return apply(
    {
      name: 'rmsNorm',
      operands: ['x', 'weight'],
      shape: x.shape,
      rule: rowRule(x.shape.length - 1),
      compute: ([local, w]) => rmsNorm(local as Tensor, w, options),
    },
    weight ? [x, weight] : [x],
  )
}

export interface CrossEntropyOptions {
  ignoreIndex?: number
  reduction?: 'none' | 'mean' | 'sum'
  labelSmoothing?: number
}

/**
 * Cross entropy of logits (rows, classes) with class numbers (rows,). Rows may be cut, both alike: 'none' stays cut,
 * 'sum' gives terms, and so does 'mean', for which the devices add up how many rows count: an all-reduce of 8 bytes.
 */
export function distributedCrossEntropy(
  logits: DistributedTensor,
  target: DistributedTensor,
  options: CrossEntropyOptions = {},
): DistributedTensor {
  const reduction = options.reduction ?? 'mean'
  const rows = logits.shape[0] as number
  if (logits.shape.length !== 2 || `${target.shape}` !== `${rows}`) {
    throw new ShapeError(
      `crossEntropy: [${logits.shape}] and [${target.shape}] are not (rows, classes) and (rows,)`,
    )
  }
  const rule = ([x, y]: readonly Placement[]): Placement | undefined => {
    if (x?.kind === 'replicated' && y?.kind === 'replicated') return replicated()
    const cut = x?.kind === 'sharded' && x.dim === 0 && y?.kind === 'sharded'
    if (!cut) return undefined
    return reduction === 'none' ? x : partial()
  }
  const whole = [...logits.placed, ...target.placed].every((p) => p.kind === 'replicated')
  const divides = reduction === 'mean' && !whole
  const local = divides ? { ...options, reduction: 'sum' as const } : options
  const loss = () =>
    apply(
      {
        name: 'crossEntropy',
        operands: ['logits', 'target'],
        shape: reduction === 'none' ? [rows] : [],
        rule,
        compute: ([x, y]) => crossEntropy(x as Tensor, y as Tensor, local),
      },
      [logits, target],
    )
  return divides ? scope(() => perRow(loss(), target, options.ignoreIndex ?? -100)) : loss()
}

/** As linearCrossEntropy's, the bias distributed too. */
export interface DistributedLinearCrossEntropyOptions
  extends Omit<LinearCrossEntropyOptions, 'bias'> {
  bias?: DistributedTensor | null
}

/**
 * crossEntropy(linear(x, weight, bias), target) without the logits of all rows: x (rows, in) and target (rows,) cut over
 * their rows, both alike, or whole; weight (classes, in) and bias (classes,) whole. Results lie as crossEntropy's do.
 */
export function distributedLinearCrossEntropy(
  x: DistributedTensor,
  weight: DistributedTensor,
  target: DistributedTensor,
  options: DistributedLinearCrossEntropyOptions = {},
): DistributedTensor {
  const { bias, ...rest } = options
  const reduction = options.reduction ?? 'mean'
  const rows = x.shape[0] as number
  const [classes, inner] = weight.shape
  if (
    x.shape.length !== 2 ||
    weight.shape.length !== 2 ||
    inner !== x.shape[1] ||
    `${target.shape}` !== `${rows}` ||
    (bias && `${bias.shape}` !== `${classes}`)
  ) {
    const text = [x, weight, target, ...(bias ? [bias] : [])].map(({ shape }) => `[${shape}]`)
    throw new ShapeError(
      `linearCrossEntropy: ${text.join(', ')} are not (rows, in), (classes, in), (rows,) and (classes,)`,
    )
  }
  const rule = ([p, w, y, b]: readonly Placement[]): Placement | undefined => {
    if (w?.kind !== 'replicated' || (b !== undefined && b.kind !== 'replicated')) return undefined
    if (p?.kind === 'replicated' && y?.kind === 'replicated') return replicated()
    const cut = p?.kind === 'sharded' && p.dim === 0 && y?.kind === 'sharded'
    if (!cut) return undefined
    return reduction === 'none' ? p : partial()
  }
  const whole = [...x.placed, ...target.placed].every((p) => p.kind === 'replicated')
  const divides = reduction === 'mean' && !whole
  const local = divides ? { ...rest, reduction: 'sum' as const } : rest
  const loss = () =>
    apply(
      {
        name: 'linearCrossEntropy',
        operands: ['x', 'weight', 'target', 'bias'],
        shape: reduction === 'none' ? [rows] : [],
        rule,
        compute: ([a, w, y, b]) =>
          linearCrossEntropy(a as Tensor, w as Tensor, y as Tensor, { ...local, bias: b ?? null }),
      },
      bias ? [x, weight, target, bias] : [x, weight, target],
    )
  return divides ? scope(() => perRow(loss(), target, options.ignoreIndex ?? -100)) : loss()
}

/** `sum` by the number of rows whose target is not `ignored`, the same on every device. */
function perRow(
  sum: DistributedTensor,
  target: DistributedTensor,
  ignored: number,
): DistributedTensor {
  const counting = unary('crossEntropy', target, (t) => ne(t, ignored).to('i64'))
  const whole = Object.fromEntries(target.mesh.axes.map((axis) => [axis, replicated()]))
  const rows = distributedSum(counting).redistribute(whole)
  return sum.div(unary('crossEntropy', rows, (n) => n.to(sum.dtype)))
}
