// Do all ranks agree? Compares what workers report before the first step (names, shapes, dtypes and
// hashes of their state), and explains a step in which ranks had unequal data. Pure; the coordinator
// calls it between messages.
import { DesyncError } from '../native/errors.js'
import type { DataPosition, LoadReply, RunReply, StateEntry } from './worker/protocol.js'

const describe = ({ shape, dtype, frozen }: StateEntry) =>
  `[${shape.join(', ')}] ${dtype}${frozen ? ', frozen' : ''}`

function compareEntries(kind: string, first: StateEntry[], other: StateEntry[], rank: number) {
  const fields = { rank, kind }
  const length = Math.min(first.length, other.length)
  for (let i = 0; i < length; i++) {
    const a = first[i]!
    const b = other[i]!
    if (a.name !== b.name) {
      throw new DesyncError(
        `replicas differ: ${kind} ${i} is ${b.name} on rank ${rank}, but ${a.name} on rank 0`,
        { ...fields, name: b.name, expected: a.name },
      )
    }
    if (describe(a) !== describe(b)) {
      throw new DesyncError(
        `replicas differ: ${kind} ${a.name} is ${describe(b)} on rank ${rank}, ` +
          `but ${describe(a)} on rank 0`,
        { ...fields, name: a.name },
      )
    }
  }
  if (first.length !== other.length) {
    const [more, has, at] = first.length > length ? [first, 0, rank] : [other, rank, 0]
    const name = more[length]!.name
    throw new DesyncError(
      `replicas differ: rank ${rank} has ${other.length} ${kind}s, rank 0 has ${first.length}; ` +
        `${name} is on rank ${has} but not on rank ${at}`,
      { ...fields, name },
    )
  }
}

/** Throws DesyncError naming the first parameter or buffer that is not the same as on rank 0. */
export function requireSameState(replies: LoadReply[]): void {
  const first = replies[0]!
  replies.forEach((reply, rank) => {
    compareEntries('parameter', first.parameters, reply.parameters, rank)
    compareEntries('buffer', first.buffers, reply.buffers, rank)
  })
}

/** Throws DesyncError naming the ranks whose weights differ from rank 0's. */
export function requireSameHash(hashes: string[], when: string): void {
  const ranks = hashes.flatMap((hash, rank) => (hash === hashes[0] ? [] : [rank]))
  if (ranks.length === 0) return
  throw new DesyncError(`replicas differ ${when}: rank ${ranks.join(', ')} against rank 0`, {
    ranks,
    hashes,
  })
}

/** Why ranks could not go on together: names each rank's batches and samples. */
export function unequalDataError(step: number, replies: RunReply[]): DesyncError {
  const positions: DataPosition[] = replies.map((reply) => reply.position)
  const samples = positions.map((position) => position.samples)
  const batches = positions.map((position) => position.batches)
  const fields = { step, epoch: positions[0]!.epoch, batches, samples }
  const endedRanks = positions.flatMap((position, rank) => (position.ended ? [rank] : []))
  if (endedRanks.length > 0 && endedRanks.length < positions.length) {
    const counts = positions.map(
      ({ batches, ended }, rank) => `rank ${rank}: ${ended ? batches : `more than ${batches}`}`,
    )
    return new DesyncError(
      `unequal batch counts at step ${step}: the data of rank ${endedRanks.join(', ')} ended ` +
        `before the others' (${counts.join('; ')}). Every rank must get as many batches; a sampler ` +
        'that drops or pads the last ones does that',
      { ...fields, ended: endedRanks },
    )
  }
  const counts = samples.map((count, rank) => `rank ${rank}: ${count}`)
  return new DesyncError(
    `unequal batch sizes at step ${step} (${counts.join('; ')} samples): the mean over ranks would ` +
      'not be the mean over samples',
    fields,
  )
}
