// Batches made on a thread of their own: the same run as without it, and every way in which that thread can fail.
import { afterEach, expect, test } from 'vitest'
import { Trainer, type TrainerOptions, UsageError, WorkerError } from 'weft'
import { several } from '../device.js'

afterEach(() => {
  delete process.env.WEFT_TEST_DATA
})
const tasks = (name: string) => new URL(`../tasks/${name}.mjs`, import.meta.url)

const fit = (options: Partial<TrainerOptions>) =>
  new Trainer({ task: tasks('regression'), ...several(2), run: false, ...options }).fit()

/** The regression with that data, made on a thread of its own. */
function fitForm(form: string, options: Partial<TrainerOptions>) {
  process.env.WEFT_TEST_DATA = form
  return fit({ task: tasks('data-forms'), dataThread: true, ...options })
}

test.each([
  ['steps over several epochs', { steps: 80 }],
  ['accumulation and evaluations', { steps: 12, accumulate: 3, evaluateEvery: 4 }],
  ['a captured step', { steps: 20, graph: true }],
  ['epochs', { epochs: 2 }],
])('%s: the bits of a run without the thread', async (_name, options) => {
  const expected = await fit(options)
  const result = await fit({ ...options, dataThread: true })
  expect(result.losses).toEqual(expected.losses)
  expect(result.hash).toBe(expected.hash)
  expect(result.metrics).toEqual(expected.metrics)
})

test('a dataset that batches are views of stays whole', async () => {
  const result = await fitForm('views', { steps: 20 })
  expect(result.steps).toBe(20)
  expect(result.replicasEqual).toBe(true)
})

test('what the data throws keeps class and place, and the next run works', async () => {
  await expect(fitForm('broken', { steps: 500 })).rejects.toThrow(
    /task\.data threw TypeError: the data is broken/,
  )
  expect((await fit({ steps: 3, dataThread: true })).steps).toBe(3)
})

test('a thread that ends, a tensor and a source that is none are named', async () => {
  const exits = fitForm('exits', { steps: 3 })
  await expect(exits).rejects.toThrow(/the data thread ended with exit code 7/)
  await expect(exits).rejects.toThrow(WorkerError)
  const tensors = fitForm('tensors', { steps: 3 })
  await expect(tensors).rejects.toThrow(UsageError)
  await expect(tensors).rejects.toThrow(/a tensor as x: a data thread hands on arrays/)
  await expect(fitForm('none', { steps: 3 })).rejects.toThrow(/task\.data must return an iterable/)
})

test('a run that is stopped ends its data threads', async () => {
  process.env.WEFT_TEST_DATA = 'endless'
  const trainer = new Trainer({
    ...{ task: tasks('data-forms'), ...several(2), run: false, steps: 100_000, dataThread: true },
    onEvent: (event) => {
      if (event.kind === 'progress' && event.step > 10) trainer.stop()
    },
  })
  const result = await trainer.fit()
  expect(result.stopped).toBe(true)
})
