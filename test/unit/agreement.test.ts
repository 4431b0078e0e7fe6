// What the coordinator concludes from the ranks' reports.
import { describe, expect, it } from 'vitest'
import { DesyncError } from '../../src/native/errors.js'
import { requireSameHash, requireSameState, unequalDataError } from '../../src/train/agreement.js'
import { combineSums } from '../../src/train/training.js'
import type { DataPosition, LoadReply, RunReply } from '../../src/train/worker/protocol.js'

const weight = { name: 'a.weight', shape: [2, 3], dtype: 'f32', frozen: false }
const bias = { name: 'a.bias', shape: [2], dtype: 'f32', frozen: false }
const rank = (parameters = [weight, bias], buffers: (typeof weight)[] = []) =>
  ({ parameters, buffers }) as unknown as LoadReply

describe('requireSameState', () => {
  it('accepts equal replicas', () => {
    expect(() => requireSameState([rank(), rank(), rank()])).not.toThrow()
  })

  it.each([
    ['a name', [{ ...weight, name: 'b.weight' }, bias], /0 is b\.weight on rank 2, but a\.weight/],
    ['a shape', [{ ...weight, shape: [3, 2] }, bias], /a\.weight is \[3, 2\] f32 on rank 2/],
    ['a dtype', [weight, { ...bias, dtype: 'f16' }], /a\.bias is \[2\] f16 on rank 2/],
    ['frozen here only', [weight, { ...bias, frozen: true }], /a\.bias is \[2\] f32, frozen on/],
    ['one less', [weight], /a\.bias is on rank 0 but not on rank 2/],
    ['one more', [weight, bias, { ...bias, name: 'c' }], /c is on rank 2 but not on rank 0/],
  ])('names the first difference: %s', (_name, parameters, pattern) => {
    const check = () => requireSameState([rank(), rank(), rank(parameters)])
    expect(check).toThrow(DesyncError)
    expect(check).toThrow(pattern)
  })

  it('compares buffers too', () => {
    const check = () => requireSameState([rank(), rank(undefined, [weight])])
    expect(check).toThrow(/rank 1 has 1 buffers, rank 0 has 0; a\.weight is on rank 1/)
  })
})

describe('requireSameHash', () => {
  it('names the ranks that differ from rank 0', () => {
    expect(() => requireSameHash(['x', 'x'], 'now')).not.toThrow()
    expect(() => requireSameHash(['x', 'y', 'x', 'z'], 'now')).toThrow(/differ now: rank 1, 3/)
  })
})

describe('unequalDataError', () => {
  const report = (position: Partial<DataPosition>) =>
    ({
      position: { epoch: 1, batches: 9, samples: 16, ended: false, ...position },
    }) as RunReply

  it('explains ranks that ran out of batches', () => {
    const error = unequalDataError(19, [report({}), report({ ended: true }), report({})])
    expect(error.message).toMatch(/step 19.*rank 1 ended.*rank 0: more than 9; rank 1: 9;/)
    expect(error.fields).toMatchObject({ step: 19, epoch: 1, ended: [1] })
  })

  it('explains batches of different sizes', () => {
    const error = unequalDataError(3, [report({}), report({ samples: 12 })])
    expect(error.message).toMatch(/rank 0: 16; rank 1: 12 samples/)
  })
})

describe('combineSums', () => {
  it('divides sums over all ranks by their common count', () => {
    const ranks = [
      { accuracy: 9, loss: 5, count: 10 },
      { accuracy: 1, loss: 1, count: 2 },
      { count: 0 },
    ]
    expect(combineSums(ranks)).toEqual({ accuracy: 10 / 12, loss: 0.5 })
  })
})
