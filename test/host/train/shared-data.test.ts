// `shared` of a task: a dataset is read once for all ranks and lies in one memory.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test } from 'vitest'
import { Trainer, UsageError } from 'weft'
import { several } from '../device.js'

const folder = mkdtempSync(join(tmpdir(), 'weft-shared-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
afterEach(() => {
  delete process.env.WEFT_TEST_SHARED
})

function fit(about: string, dataThread = false) {
  process.env.WEFT_TEST_SHARED = about
  const task = new URL('../tasks/shared-data.mjs', import.meta.url)
  return new Trainer({ task, ...several(3), steps: 6, run: false, dataThread }).fit()
}

test.each([false, true])(
  'it is read once and lies in one memory (data thread: %s)',
  async (dataThread) => {
    const file = join(folder, `readings-${dataThread}`)
    const result = await fit(file, dataThread)
    expect(readFileSync(file, 'utf8')).toBe('read\n')
    expect(result.replicasEqual).toBe(true)
    expect(result.steps).toBe(6)
  },
)

test('what is no typed array is named', async () => {
  await expect(fit('number')).rejects.toThrow(UsageError)
  await expect(fit('number')).rejects.toThrow(/task\.shared must return typed arrays .* has as x 5/)
  await expect(fit('none')).rejects.toThrow(/task\.shared must return typed arrays .* returned 5/)
})
