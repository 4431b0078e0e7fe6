// The innermost open scope of this thread: the list that new tensors are noted in. scope.ts opens
// and closes scopes; the Tensor constructor appends.
import type { TensorObject } from '../tensor-object.js'

/** The scope mark of tensors that keep() took out of all scopes. */
export const keptMark = -1

/** `top` is undefined outside every scope. */
export const scopes: { top: TensorObject[] | undefined } = { top: undefined }

/** Runs `make` so that the tensors it makes belong to no scope. */
export function untracked<T>(make: () => T): T {
  const top = scopes.top
  scopes.top = undefined
  try {
    return make()
  } finally {
    scopes.top = top
  }
}
