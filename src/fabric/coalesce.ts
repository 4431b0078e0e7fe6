// Coalesced calls: the calls that a function makes of one group become one. Group and RankGroup have the
// method; the block itself is the native core's, one a thread.
import { native } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { isUnfinished } from '../tensor/operators/enqueued.js'
import type { CollectiveOptions } from './collective-call.js'
import { callLimits } from './collective-call.js'
import { Work } from './work.js'

/** Of coalescedCalls(): a call for all ranks. */
export const allRanks = -1

/** Makes the calls of `fn` as one, of the group for all ranks or for one; none of them when `fn` throws. */
export function coalescedCalls(
  group: number,
  rank: number,
  fn: () => unknown,
  options: CollectiveOptions & { vote?: number },
): Work {
  const limits = callLimits(options)
  const work = new Work(native.coalesceBegin(group, rank))
  try {
    const result = fn()
    if (isUnfinished(result)) {
      result.then(undefined, () => {})
      throw new UsageError(
        'coalesce() takes a synchronous function: its calls are made when it returns. Await what it needs before.',
      )
    }
  } catch (error) {
    native.coalesceDrop()
    throw error
  }
  native.coalesceEnd(...limits, options.vote ?? 0)
  return work
}
