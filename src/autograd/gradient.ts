// Gradients of tensors: the backward pass, gradients of leaves, hooks. Tensor's methods call these.
import { native, wordCount, words } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { makeTensor } from '../tensor/operators/make.js'
import { disposeAll } from '../tensor/scope/scope.js'
import { scopes, untracked } from '../tensor/scope/scope-stack.js'
import type { Tensor } from '../tensor/tensor.js'
import { TensorObject } from '../tensor/tensor-object.js'
import { census } from '../tensor/values/growth.js'

/**
 * Sees a gradient; may return a replacement of the same shape. `grad` is valid during the call
 * only.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook may return nothing
export type GradientHook = (grad: Tensor) => Tensor | undefined | void

export interface BackwardOptions {
  /** Keep what the formulas need, so that backward can run again. */
  retainGraph?: boolean
}

/**
 * Computes gradients of `roots` with respect to all leaves and adds them to their `grad`.
 * `grads[i]` has the shape of `roots[i]`; without them every root must have one element. Enqueues;
 * never waits.
 */
export function backward(
  roots: readonly Tensor[],
  grads?: readonly (Tensor | null)[],
  options: BackwardOptions = {},
): void {
  const n = roots.length
  if (grads !== undefined && grads.length !== n) {
    throw new UsageError(`backward: ${n} tensors but ${grads.length} gradients`)
  }
  if (2 * n > wordCount) throw new UsageError(`backward takes at most ${wordCount / 2} tensors`)
  for (let i = 0; i < n; i++) {
    words[i] = (roots[i] as Tensor).handle
    words[n + i] = grads?.[i]?.handle ?? 0
  }
  native.backward(n, options.retainGraph ?? false)
}

/**
 * The gradient of a leaf, null when there is none. The object belongs to the leaf: it is the same
 * on each call while the gradient's memory is, and ends with the leaf or when the gradient was
 * replaced.
 */
export function getGrad(leaf: Tensor): Tensor | null {
  const known = leaf.gradTensor
  const handle = native.grad(leaf.handle, known?.raw ?? 0)
  if (known !== undefined && known.raw === handle && handle !== 0) return known as Tensor
  known?.dispose()
  const grad = handle === 0 ? undefined : untracked(() => makeTensor(handle))
  leaf.gradTensor = grad
  return grad ?? null
}

/** Replaces the gradient of a leaf: shape, dtype and device must be the leaf's. null removes it. */
export function setGrad(leaf: Tensor, grad: Tensor | null): void {
  native.setGrad(leaf.handle, grad === null ? 0 : grad.handle)
}

/**
 * Calls `hook` with every gradient that reaches `tensor` in later backward passes, on the thread
 * that calls backward(). Returns a function that removes the hook. Hooks may register and remove
 * hooks: one registered while the tensor's hooks run comes with the next pass, one removed does not
 * run any more.
 */
export function registerHook(tensor: Tensor, hook: GradientHook): () => void {
  const id = native.registerHook(tensor.handle, (handle) => runHook(hook, handle))
  return () => native.removeHook(id)
}

/**
 * Calls `hook` after each accumulation into the leaf's gradient. Returns a function that removes
 * it.
 */
export function registerLeafHook(leaf: Tensor, hook: () => void): () => void {
  const id = native.registerLeafHook(leaf.handle, () => hook())
  return () => native.removeHook(id)
}

/** Tensors made by the hook end with it; its result goes to the engine (see NativeHook). */
function runHook(hook: GradientHook, handle: number): number {
  const outer = scopes.top
  const made: TensorObject[] = []
  scopes.top = made
  const grad = makeTensor(handle)
  let answer = 0
  try {
    const replacement = hook(grad)
    if (replacement instanceof TensorObject && replacement !== grad) {
      const owned = made.includes(replacement)
      answer = owned ? -replacement.handle : replacement.handle
      if (owned) handOver(replacement)
    }
  } finally {
    scopes.top = outer
    handOver(grad)
    disposeAll(made)
  }
  return answer
}

/** Native code releases the handle. */
function handOver(tensor: Tensor): void {
  if (tensor.raw !== 0) census.live--
  tensor.raw = 0
}
