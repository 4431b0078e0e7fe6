// What the command line says of an error: its line, and where in the user's files it came from.
import { describe, expect, it } from 'vitest'
import { errorLines, userPlace } from '../../src/cli/error-report.js'
import { ShapeError, WorkerError } from '../../src/native/errors.js'
import { packageRoot } from '../../src/native/load.js'

function withStack<E extends Error>(error: E, frames: string[]): E {
  error.stack = [`${error.name}: ${error.message}`, ...frames.map((f) => `    at ${f}`)].join('\n')
  return error
}
const own = `invoke (file://${packageRoot}dist/tensor/operators/invoke.js:7:3)`

describe('userPlace', () => {
  const place = (...frames: string[]) =>
    userPlace(withStack(new Error('x'), frames).stack, '/home/me')

  it('is the innermost frame that is neither weft, Node nor a package', () => {
    expect(
      place(
        own,
        `Tensor.add (${packageRoot}src/tensor/tensor.ts:3:4)`,
        'process.processTicksAndRejections (node:internal/process/task_queues:95:5)',
        'map (file:///home/me/node_modules/other/index.js:1:2)',
        'Object.loss (/home/me/tasks/task.ts:12:9)',
        'outer (/home/me/tasks/task.ts:20:1)',
      ),
    ).toBe('Object.loss (tasks/task.ts:12:9)')
  })

  it('takes file URLs, frames without a name, async ones, and other folders', () => {
    expect(place('file:///home/me/a%20b.mjs:3:9')).toBe('a b.mjs:3:9')
    expect(place('async Promise.all (index 0)', 'async file:///data/t.mjs:1:2')).toBe(
      '/data/t.mjs:1:2',
    )
    expect(place('async load (/home/me/t.ts:1:2)')).toBe('load (t.ts:1:2)')
    expect(place('new Net (/home/me/t.ts:1:2)')).toBe('new Net (t.ts:1:2)')
    expect(place(own)).toBeUndefined()
    expect(userPlace(undefined)).toBeUndefined()
  })
})

describe('errorLines', () => {
  it('tells the place of a weft error that the task caused', () => {
    const error = withStack(new ShapeError('add: (2,)\n and (3,)'), [own, 'loss (/t/task.ts:4:5)'])
    expect(errorLines(error)).toEqual([
      'weft: ShapeError (WEFT_SHAPE): add: (2,) and (3,)',
      '    at loss (/t/task.ts:4:5)',
    ])
  })

  it('tells the place of what a worker wraps, and of causes nested in it', () => {
    const inner = withStack(new TypeError('no such file'), ['read (/t/files.ts:1:1)'])
    const thrown = withStack(new Error('no data', { cause: inner }), ['loss (/t/task.ts:9:9)'])
    const error = withStack(new WorkerError('rank 1: task.loss threw Error: no data'), [own])
    error.cause = thrown
    expect(errorLines(error)).toEqual([
      'weft: WorkerError (WEFT_WORKER): rank 1: task.loss threw Error: no data',
      '    at loss (/t/task.ts:9:9)',
      '  caused by TypeError: no such file',
      '    at read (/t/files.ts:1:1)',
    ])
  })

  it('ends with circular causes, and takes anything that can be thrown', () => {
    const error = new Error('a')
    error.cause = error
    expect(errorLines(error).length).toBeLessThan(10)
    expect(errorLines('text')).toEqual(['weft: text'])
    expect(errorLines(new Error('a', { cause: 3 }))[1]).not.toBe('')
    expect(errorLines(undefined)).toEqual(['weft: undefined'])
  })

  it('shows whole stacks when asked, of causes too', () => {
    const error = new WorkerError('outer')
    error.cause = withStack(new Error('inner'), [own])
    const text = errorLines(error, true).join('\n')
    expect(text).toContain(own)
    expect(text).toContain(error.stack)
  })
})
