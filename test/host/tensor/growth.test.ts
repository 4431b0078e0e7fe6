// Steps outside scope() that dispose of nothing: one warning, and none for loops that clean up.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { disposeAll, keep, scope, setDefaultDevice, type Tensor, zeros } from 'weft'
import { device } from '../device.js'

setDefaultDevice(device)
const count = 6000
const x = zeros([1])
const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
const made: Tensor[] = []
beforeEach(() => warn.mockClear())
afterEach(() => disposeAll(made.splice(0)))

test.each<[string, () => void]>([
  ['in a scope', () => scope(() => void x.add(1))],
  ['disposed of', () => x.add(1).dispose()],
  ['kept on purpose', () => void made.push(keep(x.add(1)))],
  ['in a scope, the result disposed of', () => scope(() => x.add(1).mul(2)).dispose()],
])('no warning for tensors %s', (_name, step) => {
  for (let i = 0; i < count; i++) step()
  expect(warn).not.toHaveBeenCalled()
})

test('a loop that leaks warns once, naming scope()', () => {
  for (let i = 0; i < 2 * count; i++) made.push(x.add(1))
  expect(warn).toHaveBeenCalledTimes(1)
  expect(warn.mock.calls[0]).toEqual([
    expect.stringMatching(/outside scope\(\).*dispose\(\)/),
    { code: 'WEFT_GROWTH' },
  ])
})
