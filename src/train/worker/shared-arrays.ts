// A task's `shared`: the arrays of a dataset in memory that all ranks read. Rank 0's replica makes them when it loads the
// task, the coordinator hands them on, and every rank's data finds them in its request.
import { UsageError } from '../../native/errors.js'
import type { HostArray } from '../../tensor/dtype.js'
import type { SharedArrays, Task } from '../task.js'
import { inTask } from './task-call.js'
import { describeValue } from './task-checks.js'

type Constructor = new (memory: SharedArrayBuffer) => HostArray

/** What the task shares, each array in a SharedArrayBuffer; none where it shares nothing. */
export async function makeShared({ shared }: Task): Promise<SharedArrays> {
  if (shared === undefined) return {}
  const arrays: unknown = await inTask('task.shared', () => shared())
  if (typeof arrays !== 'object' || arrays === null || ArrayBuffer.isView(arrays)) {
    throw wrong(arrays)
  }
  const entries = Object.entries(arrays as Record<string, unknown>)
  return Object.fromEntries(entries.map(([name, array]) => [name, sharedCopy(name, array)]))
}

/** The array itself where it lies in shared memory already. */
function sharedCopy(name: string, array: unknown): HostArray {
  if (!ArrayBuffer.isView(array) || array instanceof DataView) throw wrong(array, name)
  const source = array as HostArray
  if (source.buffer instanceof SharedArrayBuffer) return source
  const copy = new (source.constructor as Constructor)(new SharedArrayBuffer(source.byteLength))
  new Uint8Array(copy.buffer).set(
    new Uint8Array(source.buffer, source.byteOffset, source.byteLength),
  )
  return copy
}

function wrong(value: unknown, name?: string): UsageError {
  const what = name === undefined ? 'returned' : `has as ${name}`
  return new UsageError(
    `task.shared must return typed arrays by name, { images: Uint8Array, labels: Int32Array }; it ${what} ${describeValue(value)}`,
    { part: 'shared' },
  )
}
