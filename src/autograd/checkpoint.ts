// Activation checkpointing (Chen et al. 2016): a function's intermediate results are not kept for the backward pass
// but computed again in it. Users wrap the blocks of a deep model in it. The native side is
// native/autograd/checkpoint.h.
import { native, words } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { makeTensor } from '../tensor/operators/make.js'
import { scope } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import { gradEnabled } from './no-grad.js'

/**
 * Runs `fn` and returns its result, keeping of what it computed only that: what the gradients need is computed again
 * when the backward pass comes to it, with the same random draws, so that gradients have the same bits. Costs one more
 * forward of `fn`, saves the memory of its intermediate results. Enqueues, never waits; works in captured steps, in
 * autocast, over several devices.
 *
 * `fn` is synchronous and must do the same each time it runs: tensors that it makes are freed when it returns, other
 * effects happen twice. It may use tensors from around it, which must live until the backward pass; `inputs`, which it
 * is given, are kept until then even where a scope ends between. Inside another checkpoint, and while no gradients
 * are recorded, it simply runs.
 */
export function checkpoint<T, I extends Tensor[]>(fn: (...inputs: I) => T, ...inputs: I): T {
  const run = () => scope(() => fn(...inputs))
  if (!gradEnabled() || native.checkpointOpen()) return run()
  const handles = inputs.map((input) => input.handle)
  words.set(handles)
  native.enterCheckpoint((count) => runAgain(fn, count), handles.length)
  try {
    const result = run()
    if (result instanceof Promise) throw new UsageError('checkpoint() takes a synchronous function')
    return result
  } finally {
    native.leaveCheckpoint()
  }
}

/** Everything that it makes ends with it; what is needed lies in native places. */
function runAgain<I extends Tensor[]>(fn: (...inputs: I) => unknown, count: number): void {
  const handles = words.slice(0, count)
  scope(() => {
    const inputs = Array.from(handles, (handle) => makeTensor(handle)) as I
    fn(...inputs)
  })
}
