// scope(): frees the tensors made inside it, deterministically, in one native call. The trainer
// runs each step in one; users wrap loops in it. keep() takes a tensor out.
import { native } from '../../native/addon.js'
import { UsageError } from '../../native/errors.js'
import { isUnfinished } from '../operators/enqueued.js'
import { TensorObject } from '../tensor-object.js'
import { census } from '../values/growth.js'
import { keptMark as kept, scopes } from './scope-stack.js'

let latestMark = 0
const batch = new Float64Array(1024)

/**
 * Runs `fn` and disposes of every tensor made during it, except those reachable in its result (a
 * Tensor, or arrays, Maps, Sets and objects that hold them, of any class; private # fields cannot be seen: keep() what
 * lies there) and those marked with keep(). Survivors
 * move to the enclosing scope; outside all scopes they live until dispose(). When `fn` throws,
 * everything made so far is disposed of. `fn` must be synchronous: a promise is a UsageError.
 */
export function scope<T>(fn: () => T): T {
  const parent = scopes.top
  const made: TensorObject[] = []
  scopes.top = made
  let result: T
  try {
    result = fn()
  } catch (error) {
    scopes.top = parent
    releaseExcept(made, undefined)
    throw error
  }
  scopes.top = parent
  if (isUnfinished(result)) {
    result.then(undefined, () => {})
    releaseExcept(made, undefined)
    throw new UsageError(
      'scope() takes a synchronous function: its tensors are freed when it returns. Await outside the ' +
        'scope, or manage lifetimes with "using" or dispose().',
    )
  }
  markReachable(result, ++latestMark)
  releaseExcept(made, parent)
  return result
}

/** Takes `tensor` out of every scope: it lives until dispose(). Returns it. */
export function keep<T extends TensorObject>(tensor: T): T {
  if (tensor.mark !== kept && tensor.raw !== 0) census.live--
  tensor.mark = kept
  return tensor
}

/** Disposes of all given tensors in few native calls. */
export function disposeAll(tensors: Iterable<TensorObject>): void {
  let count = 0
  for (const tensor of tensors) count = release(tensor, count)
  if (count > 0) native.releaseMany(batch, count)
}

function releaseExcept(made: TensorObject[], parent: TensorObject[] | undefined): void {
  let count = 0
  for (let i = 0; i < made.length; i++) {
    const tensor = made[i] as TensorObject
    if (tensor.raw === 0 || tensor.mark === kept) continue
    if (tensor.mark === latestMark && tensor.mark !== 0) {
      if (parent !== undefined) parent.push(tensor)
    } else {
      count = release(tensor, count)
    }
  }
  if (count > 0) native.releaseMany(batch, count)
  latestMark++ // marks of this walk no longer count
}

/**
 * Puts the tensor's handle in the batch at `count`; flushes a full batch. Returns the new count.
 */
function release(tensor: TensorObject, count: number): number {
  if (tensor.gradTensor !== undefined) {
    tensor.gradTensor.dispose()
    tensor.gradTensor = undefined
  }
  let at = count
  if (tensor.raw !== 0) {
    batch[at++] = tensor.raw
    if (tensor.mark !== kept) census.live--
  }
  tensor.raw = 0
  if (at < batch.length) return at
  native.releaseMany(batch, at)
  return 0
}

function markReachable(result: unknown, mark: number): void {
  if (result instanceof TensorObject) {
    if (result.mark !== kept) result.mark = mark
    return
  }
  if (typeof result !== 'object' || result === null) return
  const seen = new Set<object>([result])
  for (const value of seen) {
    // What a loop adds to a Set it comes to later.
    if (value instanceof TensorObject) {
      if (value.mark !== kept) value.mark = mark
      continue
    }
    for (const item of heldBy(value)) if (typeof item === 'object' && item !== null) seen.add(item)
  }
}

/** What an object holds in elements and own fields; getters are not called. */
function heldBy(value: object): Iterable<unknown> {
  if (Array.isArray(value) || value instanceof Set) return value
  if (value instanceof Map) return [...value.keys(), ...value.values()]
  if (ArrayBuffer.isView(value)) return []
  const fields = Object.values(Object.getOwnPropertyDescriptors(value))
  return fields.flatMap((field) => ('value' in field ? [field.value] : []))
}
