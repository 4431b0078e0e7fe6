// Nested arrays: shape, flat form and back.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ShapeError } from '../../src/native/errors.js'
import { flattenNested, nest, shapeOf, sizeOfShape } from '../../src/tensor/values/nested.js'
import { formatNested } from '../../src/tensor/values/print.js'

test('shapes of numbers, lists and empty lists', () => {
  expect(shapeOf(3)).toEqual([])
  expect(shapeOf([[1, 2, 3]])).toEqual([1, 3])
  expect(shapeOf([[], []])).toEqual([2, 0])
  expect(shapeOf([new Float32Array(4)])).toEqual([1, 4])
})

test('nest undoes flatten for every shape', () => {
  const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 })
  fc.assert(
    fc.property(shapes, (shape) => {
      const flat = Array.from({ length: sizeOfShape(shape) }, (_, i) => i)
      const nested = nest(flat, shape)
      expect(shapeOf(nested)).toEqual(shape)
      expect(flattenNested(nested, shape)).toEqual(flat)
    }),
  )
})

test.each([
  [[[1, 2], [3]], /\[1\].*1 elements, but 2/],
  [[[1, 2], 3], /\[1\].*a list of 2/],
  [[1, [2]], /\[1\].*number is expected/],
  [[1, 'a'], /found string/],
])('ragged arrays name the position: %j', (data, message) => {
  const flatten = () => flattenNested(data as never, shapeOf(data as never))
  expect(flatten).toThrow(ShapeError)
  expect(flatten).toThrow(message)
})

test('printing shortens long dimensions', () => {
  expect(formatNested([1, 2, 3, 4, 5, 6, 7, 8], 4, 3)).toBe('[1, 2, 3, …, 6, 7, 8]')
  expect(formatNested([[0.123456, 1]], 3, 3)).toBe('[[0.123, 1]]')
})
