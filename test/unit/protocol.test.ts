// Votes of a step and errors that cross threads.
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { errorClasses, OutOfMemoryError, WeftError } from '../../src/native/errors.js'
import { isWeftRecord, reviveError, toErrorRecord } from '../../src/train/worker/error-record.js'
import { packVote, readVotes, type StepVote } from '../../src/train/worker/protocol.js'

const vote = fc.record({
  ended: fc.boolean(),
  samples: fc.integer({ min: 1, max: 4095 }),
})
const combine = (votes: StepVote[]) => readVotes(votes.map(packVote).reduce((a, b) => a | b, 0))

describe('votes', () => {
  it('tell whether the data of any rank ended and whether ranks differ, for any ranks', () => {
    fc.assert(
      fc.property(fc.array(vote, { minLength: 1, maxLength: 8 }), (votes) => {
        const differ = votes.some(
          (v) => v.samples !== votes[0]!.samples || v.ended !== votes[0]!.ended,
        )
        expect(combine(votes)).toEqual({
          ended: votes.some((v) => v.ended),
          unequal: differ,
        })
      }),
    )
  })

  it('fit the positive range of 32 bits', () => {
    fc.assert(
      fc.property(vote, (v) => {
        const word = packVote(v)
        expect(word).toBeGreaterThan(0)
        expect(word).toBeLessThan(2 ** 31)
      }),
    )
  })
})

/** As postMessage does it. */
function post<T>(value: T): T {
  const { port1, port2 } = new MessageChannel()
  port1.postMessage(value)
  const received = receiveMessageOnPort(port2)!.message as T
  port1.close()
  return received
}

describe('error records', () => {
  it.each(errorClasses.map((cls) => [cls.name, cls] as const))(
    'keep %s with code, message, fields and stack',
    (_name, cls) => {
      const error = new cls('what happened', { rank: 2, missing: [1, 3] })
      const revived = reviveError(post(toErrorRecord(error, 7))) as WeftError
      expect(revived).toBeInstanceOf(cls)
      expect(revived.code).toBe(error.code)
      expect(revived.message).toBe('what happened')
      expect(revived.fields).toEqual({ rank: 2, missing: [1, 3] })
      expect(revived.stack).toBe(error.stack)
    },
  )

  it('add fields and change the message where asked', () => {
    const record = post(toErrorRecord(new OutOfMemoryError('no memory', { requested: 5 })))
    const revived = reviveError(record, 'no memory (rank 1)', { rank: 1 }) as WeftError
    expect(revived).toBeInstanceOf(OutOfMemoryError)
    expect(revived.message).toBe('no memory (rank 1)')
    expect(revived.fields).toEqual({ requested: 5, rank: 1 })
  })

  it('keep the name of foreign errors and tell them from ours', () => {
    const record = post(toErrorRecord(new RangeError('out of range')))
    expect(isWeftRecord(record)).toBe(false)
    expect(isWeftRecord(post(toErrorRecord(new OutOfMemoryError('x'))))).toBe(true)
    const revived = reviveError(record)
    expect(revived.name).toBe('RangeError')
    expect(revived).not.toBeInstanceOf(WeftError)
  })

  it('take anything that can be thrown, and fields that cannot be cloned', () => {
    expect(toErrorRecord('just text').message).toBe('just text')
    expect(toErrorRecord(undefined).message).toBe('undefined')
    const odd = new OutOfMemoryError('x', { f: () => 1, n: 3 })
    const record = post(toErrorRecord(odd))
    expect(record.fields.n).toBe(3)
    expect(typeof record.fields.f).toBe('string')
  })
})
