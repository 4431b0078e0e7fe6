// The pure parts of set-up: versions, what counts as missing, stamps, the lock, counting tests.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cudaPlan, gpuArchitectures } from '../../scripts/build/cuda-toolkit.mjs'
import {
  atLeast,
  checkNode,
  explainMissing,
  judgeCmake,
  judgePython,
  parseVersion,
} from '../../scripts/build/requirements.mjs'
import { isHeld, processStart, takeLock } from '../../scripts/build/setup-lock.mjs'
import { hashInputs, installMismatch, Stamps } from '../../scripts/build/stamps.mjs'
import { runChild, whyFailed } from '../../scripts/children.mjs'
import { cudaChoice } from '../../scripts/setup.mjs'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-setup-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('requirements', () => {
  test('versions are found in what programs print', () => {
    expect(parseVersion('cmake version 3.25.1\n\nCMake suite')).toEqual([3, 25, 1])
    expect(parseVersion('Python 3.11')).toEqual([3, 11, 0])
    expect(parseVersion('no number')).toBeNull()
  })

  test('versions are compared by number, not by text', () => {
    expect(atLeast('3.9.0', '3.25')).toBe(false)
    expect(atLeast('3.25.0', '3.25')).toBe(true)
    expect(atLeast('4.0', '3.25')).toBe(true)
    expect(atLeast('garbage', '3.25')).toBe(false)
  })

  test('an old node is named with what is needed', () => {
    expect(checkNode('20.17.0', '20.17').ok).toBe(true)
    const old = checkNode('18.20.4', '20.17')
    expect(old.ok).toBe(false)
    expect(explainMissing([old])).toContain('node (needs >= 20.17): Node.js 18.20.4')
  })

  test('cmake: missing, too old, good', () => {
    const missing = judgeCmake({ code: 127, text: 'cmake is not installed' }, '3.25')
    expect(missing).toMatchObject({ ok: false, remedy: 'apt-get install cmake' })
    const old = judgeCmake({ code: 0, text: 'cmake version 3.18.4' }, '3.25')
    expect(old.ok).toBe(false)
    expect(old.remedy).toContain('3.25')
    expect(judgeCmake({ code: 0, text: 'cmake version 3.25.1' }, '3.25')).toMatchObject({
      ok: true,
      remedy: '',
    })
  })

  test('python: missing, without pip, good', () => {
    const python = { code: 0, text: 'Python 3.11.2' }
    const none = { code: 127, text: 'python3 is not installed' }
    expect(judgePython(none, none, '3.9').remedy).toBe('apt-get install python3 python3-pip')
    const noPip = judgePython(python, { code: 1, text: 'No module named pip' }, '3.9')
    expect(noPip).toMatchObject({ ok: false, remedy: 'apt-get install python3-pip' })
    const pip = { code: 0, text: 'pip 23.0.1 from /usr/lib (python 3.11)' }
    expect(judgePython(python, pip, '3.9')).toMatchObject({
      ok: true,
      found: 'Python 3.11.2, pip 23.0.1',
    })
    expect(judgePython({ code: 0, text: 'Python 3.6.9' }, pip, '3.9').ok).toBe(false)
  })

  test('only what is missing is explained', () => {
    const good = checkNode('22.0.0', '20.17')
    expect(explainMissing([good])).toBe('')
  })

  test('WEFT_CUDA: auto and off are taken, on and others refused', () => {
    expect(cudaChoice('auto')).toBe('auto')
    expect(cudaChoice('off')).toBe('off')
    expect(cudaChoice('on')).toBe('on')
    expect(() => cudaChoice('yes')).toThrow(/must be auto, on or off/)
  })
})

describe('stamps', () => {
  test('the hash follows content and names, not times', () => {
    mkdirSync(join(folder, 'native'))
    writeFileSync(join(folder, 'native/a.cc'), 'int a;')
    const first = hashInputs(folder, ['native', 'missing'])
    writeFileSync(join(folder, 'native/a.cc'), 'int a;')
    expect(hashInputs(folder, ['native', 'missing'])).toBe(first)
    expect(hashInputs(folder, ['native'], { blas: true })).not.toBe(first)
    writeFileSync(join(folder, 'native/b.cc'), '')
    expect(hashInputs(folder, ['native', 'missing'])).not.toBe(first)
  })

  test('stamps outlive the process', () => {
    const path = join(folder, '.weft/stamps.json')
    new Stamps(path).set('native', 'abc')
    expect(new Stamps(path).has('native', 'abc')).toBe(true)
    expect(new Stamps(path).has('native', 'abd')).toBe(false)
  })

  test('node_modules is compared with the lock file', () => {
    const lock = {
      packages: {
        '': {},
        'node_modules/a': { version: '1.0.0' },
        'node_modules/b': { version: '2.0.0', optional: true },
      },
    }
    expect(installMismatch(lock, null)).toBe('node_modules is missing')
    expect(installMismatch(lock, { packages: {} })).toBe('node_modules/a is missing')
    expect(
      installMismatch(lock, { packages: { 'node_modules/a': { version: '1.0.0' } } }),
    ).toBeNull()
    expect(installMismatch(lock, { packages: { 'node_modules/a': { version: '1.1.0' } } })).toBe(
      'node_modules/a is 1.1.0, not 1.0.0',
    )
  })
})

describe('the lock', () => {
  test('a second set-up waits for the first', async () => {
    const path = join(folder, 'setup.lock')
    const giveBack = await takeLock(path, () => {})
    const order: string[] = []
    const second = takeLock(path, () => {
      order.push('waits')
      order.push('given back')
      giveBack()
    }).then((giveSecondBack) => {
      order.push('taken')
      giveSecondBack()
    })
    await second
    expect(order).toEqual(['waits', 'given back', 'taken'])
  })

  test('the lock of a process that is gone is taken over', async () => {
    const path = join(folder, 'setup.lock')
    const gone = await runChild(process.execPath, ['-p', 'process.pid'], { limitSeconds: 20 })
    writeFileSync(path, JSON.stringify({ pid: Number(gone.output), start: '1' }))
    const giveBack = await takeLock(path, () => expect.unreachable())
    giveBack()
  })

  test('a process id that was given again is another process', () => {
    expect(isHeld({ pid: process.pid, start: processStart(process.pid) })).toBe(true)
    expect(isHeld({ pid: process.pid, start: '1' })).toBe(false)
    expect(isHeld(null)).toBe(false)
  })
})

describe('child processes', () => {
  test('one that does not end is stopped at its limit', async () => {
    const program = 'setInterval(() => {}, 1000)'
    const result = await runChild(process.execPath, ['-e', program], { limitSeconds: 0.5 })
    expect(result.timedOut).toBe(true)
    expect(result.code).not.toBe(0)
  })

  test('one that does not exist is told', async () => {
    const result = await runChild('/nonexistent/program', [], { limitSeconds: 5 })
    expect(result.failure).toContain('ENOENT')
    expect(result.code).toBe(127)
  })

  test('of a build, the first failure is shown', () => {
    const output = '[1/9] a\n[2/9] b\nFAILED: b.o\nb.cc:1: error: no\n[3/9] c\n'
    expect(whyFailed(output)).toMatch(/^FAILED: b\.o\nb\.cc:1: error: no/)
  })
})

test('auto builds for the GPUs that are here, and no device code where there is none', () => {
  expect(gpuArchitectures(() => '9.0\n9.0\n10.0\n')).toEqual(['90a', '100a'])
  expect(gpuArchitectures(() => 'No devices were found')).toEqual([])
  expect(cudaPlan('auto', () => [])).toBeNull()
  expect(cudaPlan('auto', () => ['90a'])).toEqual({ architectures: '90a' })
  expect(cudaPlan('off', () => ['90a'])).toBeNull()
})
