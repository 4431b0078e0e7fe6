// What a lost device and a killed process may not do, on any device: hang, crash, or leave an error
// without a name. test/host/train/kill.test.ts and test/cuda1/kill.test.ts call it. Every program runs in a
// process of its own with a time limit.
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'

const program = fileURLToPath(new URL('./child.mjs', import.meta.url))
const limitMs = 60_000

interface Line {
  call: string
  name: string
  code?: string
  message?: string
}
interface Ended {
  code: number | null
  signal: string | null
  lines: Line[]
  errors: string
}

const running = new Set<ChildProcess>()
afterEach(() => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts child.mjs; `ended` resolves when the process is gone, killed at the limit. */
function start(mode: string, device: string) {
  const child = spawn(process.execPath, [program, mode, device], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs)
  const lines: Line[] = []
  const output = createInterface({ input: child.stdout })
  output.on('line', (line) => lines.push(JSON.parse(line) as Line))
  let errors = ''
  child.stderr.on('data', (text) => {
    errors += text
  })
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      running.delete(child)
      resolve({ code, signal, lines, errors })
    })
  })
  const firstLine = new Promise<void>((resolve) => output.once('line', () => resolve()))
  return { child, ended, firstLine }
}

const lost = {
  name: 'FabricPoisonedError',
  code: 'WEFT_FABRIC_POISONED',
  message: expect.stringMatching(/the process must restart.*illegal (address|memory access)/),
}

/** The tests for one device. */
export function killTests(device: string): void {
  describe(`a kernel at an illegal address on ${device}`, () => {
    test('ends every later call with FabricPoisonedError; the process exits by itself', async () => {
      const { code, signal, lines, errors } = await start('calls', device).ended
      expect({ code, signal, errors }).toEqual({ code: 0, signal: null, errors: '' })
      const working = ['memory', 'snapshot', 'dispose']
      const failed = lines.filter(({ call }) => !working.includes(call))
      expect(failed.length).toBeGreaterThan(15)
      for (const line of failed) expect(line).toEqual({ call: line.call, ...lost })
      const others = lines.filter(({ call }) => working.includes(call))
      expect(others).toEqual(working.map((call) => ({ call, name: 'none' })))
    })

    test('that nobody catches ends the process with the named error and code 1', async () => {
      const { code, errors } = await start('uncaught', device).ended
      expect(code).toBe(1)
      expect(errors).toMatch(/FabricPoisonedError: the process must restart/)
    })

    test('ends a training with FabricPoisonedError, and the next one too', async () => {
      const { code, lines, errors } = await start('train', device).ended
      expect(lines).toEqual([{ call: 'fit', ...lost }])
      expect(code).toBe(1)
      expect(errors).toMatch(/FabricPoisonedError: the process must restart/)
    })
  })

  describe(`a process killed in the middle of a step on ${device}`, () => {
    test('leaves the device to the next process at once', async () => {
      const first = start('endless', device)
      await Promise.race([first.firstLine, first.ended])
      first.child.kill('SIGKILL')
      // The next one starts while the first is still being taken down.
      const second = await start('check', device).ended
      expect(await first.ended).toMatchObject({ signal: 'SIGKILL', errors: '' })
      expect(second.errors).toBe('')
      expect(second.lines).toEqual([{ steps: 5, replicasEqual: true, finite: true }])
      expect(second.code).toBe(0)
    })
  })
}
