// A wait with a deadline: what wins, and that nothing stays behind.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { withDeadline } from '../../src/fabric/deadline.js'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const never = new Promise<string>(() => {})

test('the work in time: its value or its error, and no timer is left', async () => {
  const late = vi.fn()
  expect(await withDeadline(Promise.resolve('done'), 1000, late)).toBe('done')
  await expect(withDeadline(Promise.reject(new Error('broken')), 1000, late)).rejects.toThrow(
    'broken',
  )
  expect(vi.getTimerCount()).toBe(0)
  expect(late).not.toHaveBeenCalled()
})

test('the work too late: what `late` gives, not before the limit', async () => {
  let got: string | undefined
  const waiting = withDeadline(never, 1000, () => 'late').then((value) => {
    got = value
  })
  await vi.advanceTimersByTimeAsync(999)
  expect(got).toBeUndefined()
  await vi.advanceTimersByTimeAsync(1)
  await waiting
  expect(got).toBe('late')
  expect(vi.getTimerCount()).toBe(0)
})

test('what `late` throws is the error', async () => {
  const waiting = withDeadline(never, 10, () => {
    throw new Error('not done after 10 ms')
  })
  const seen = expect(waiting).rejects.toThrow('not done after 10 ms')
  await vi.advanceTimersByTimeAsync(10)
  await seen
})
