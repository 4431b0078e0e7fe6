// A task that returns what it must not: the error names the part, what came and what to return, and is not
// one of weft's insides. What throws is named by whose it is.
import { afterEach, expect, test } from 'vitest'
import { Trainer, UsageError, type WeftError, WorkerError } from 'weft'
import { several } from '../device.js'

afterEach(() => {
  delete process.env.WEFT_TEST_PART
})

async function failure(kind: string): Promise<WeftError> {
  process.env.WEFT_TEST_PART = kind
  const task = new URL('../tasks/misshapen.mjs', import.meta.url)
  const trainer = new Trainer({ task, ...several(1), steps: 4, batchSize: 8, run: false })
  return trainer.fit().then(
    () => {
      throw new Error('the run went well')
    },
    (error) => error,
  )
}

test.each([
  ['model-plain', /task\.model must return a model, .*nn\.Module, not a plain object/],
  ['model-undefined', /task\.model must return a model, .* not undefined/],
  ['optimizer-undefined', /task\.optimizer must return an optimizer .* not undefined/],
  ['optimizer-lr', /task\.optimizer must return .*; its lr is a string/],
  ['schedule-nan', /task\.schedule returned NaN for step 2: .*finite number.*step 3/],
  ['schedule-undefined', /task\.schedule returned undefined for step 0/],
  ['loss-undefined', /task\.loss must return a tensor with one element, .* not undefined/],
  ['loss-number', /task\.loss must return .* not 0\.5/],
  ['loss-async', /task\.loss must return .* not a Promise/],
  ['loss-many', /task\.loss must return .* not a tensor of shape \[8, 1\]/],
  ['data-number', /task\.data must return an iterable .* not 7/],
  ['batch-array', /task\.data yielded an array as a batch: yield an object/],
  ['batch-number', /task\.data yielded 3 as a batch/],
  ['batch-empty', /task\.data yielded a batch without entries/],
  ['entry-array', /task\.data yielded x, which is an array: .*typed array/],
  ['entry-undefined', /task\.data yielded y, which is undefined: .*typed array/],
  ['entry-plain-data', /task\.data yielded x, which is data that is an array/],
  ['entry-shape', /task\.data yielded x with shape 3: .*array of whole sizes/],
  ['entry-length', /task\.data yielded x of shape \[1, 2\], which has 2 elements, with 64/],
  ['evaluate-text', /task\.evaluate returned error: a string; each sum must be a number/],
  ['evaluate-async', /task\.evaluate must return .* not a Promise/],
  ['evaluate-many', /task\.evaluate returned error: a tensor of shape \[8, 1\]/],
])('%s: UsageError that names the part', async (kind, pattern) => {
  const error = await failure(kind)
  expect(error).toBeInstanceOf(UsageError)
  expect(error.message).toMatch(pattern)
})

test.each([
  ['schedule-throws', /task\.schedule threw RangeError: no rate/],
  ['optimizer-throws', /task\.optimizer threw RangeError: no step/],
  ['finish-throws', /task\.finish threw RangeError: no end/],
])('%s: WorkerError that names the part', async (kind, pattern) => {
  const error = await failure(kind)
  expect(error).toBeInstanceOf(WorkerError)
  expect(error.message).toMatch(pattern)
})

test('what no code of the task threw is called a fault of weft', async () => {
  const error = await failure('sabotage')
  expect(error).toBeInstanceOf(WorkerError)
  expect(error.message).toMatch(/weft failed with TypeError: .*a fault of weft, not of the task/)
  expect(error.fields.part).toBeUndefined()
})
