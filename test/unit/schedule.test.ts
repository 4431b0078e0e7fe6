import { expect, test } from 'vitest'
import { cosine, linear, step, warmup } from '../../dist/optim/schedule.js'

test('warmup rises to 1 and hands over to what follows', () => {
  const s = warmup(4, linear(10))
  expect([0, 1, 2, 3].map(s)).toEqual([0.25, 0.5, 0.75, 1])
  expect(s(4)).toBe(1)
  expect(s(9)).toBeCloseTo(0.5)
})

test('cosine goes from 1 over the middle to the floor and stays', () => {
  const s = cosine(100, 0.1)
  expect(s(0)).toBe(1)
  expect(s(50)).toBeCloseTo(0.55)
  expect(s(100)).toBeCloseTo(0.1)
  expect(s(1000)).toBeCloseTo(0.1)
})

test('linear and step', () => {
  expect(linear(10, 0.2)(5)).toBeCloseTo(0.6)
  expect(linear(10, 0.2)(50)).toBe(0.2)
  expect(step(3, 0.5)(7)).toBe(0.25)
})

test('a schedule over no steps is a UsageError', () => {
  expect(() => cosine(0)).toThrow(/steps must be a number above 0/)
})
