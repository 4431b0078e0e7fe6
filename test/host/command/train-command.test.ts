// `weft train` as a user runs it: its lines, its last line, and Ctrl-C.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseSafetensors } from '../../../src/checkpoint/safetensors.js'
import { readJsonLines } from '../../../src/metrics/jsonl.js'
import { choicesFile, device, onGpu, severalNames } from '../device.js'

const command = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))
const taskFile = (name: string) => fileURLToPath(new URL(`../tasks/${name}`, import.meta.url))

/** Flags for several(count). */
const flagsFor = (count: number) =>
  onGpu ? [`--devices=${device}`, `--virtual=${count}`] : [`--devices=host:0-${count - 1}`]
const names = severalNames(2)

let folder: string
let child: ChildProcess | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-command-'))
})
afterEach(() => {
  child?.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  lines: string[]
  errors: string
}

/** Runs `weft train`; `onLine` sees each line as it comes. */
function train(
  flags: string[],
  onLine: (line: string, child: ChildProcess) => void = () => {},
  task = taskFile('regression.mjs'),
): Promise<Ended> {
  const started = spawn(process.execPath, [
    command,
    'train',
    task,
    ...flagsFor(2),
    `--runs-folder=${folder}`,
    '--run=r',
    ...flags,
  ])
  child = started
  const lines: string[] = []
  let rest = ''
  let errors = ''
  started.stdout.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n')
    rest = parts.pop()!
    for (const line of parts) {
      lines.push(line)
      onLine(line, started)
    }
  })
  started.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  return new Promise((resolve) => {
    started.on('close', (code, signal) => resolve({ code, signal, lines, errors }))
  })
}

const resultOf = ({ lines }: Ended) => {
  const last = lines.at(-1)!
  expect(last).toMatch(/^result \{/)
  return JSON.parse(last.slice('result '.length))
}

describe('weft train', () => {
  it('says what it uses, shows plain lines and ends with the result', async () => {
    const ended = await train(['--steps=20', '--batch-size=8', '--log-every=10'])
    expect(ended.errors).toBe('')
    expect(ended.code).toBe(0)
    const text = ended.lines.join('\n')
    expect(text).toMatch(/^machine +\S/m)
    expect(text).toMatch(new RegExp(`^devices +${names.join(' ')} `, 'm'))
    expect(text).toMatch(/^task +regression: 1,377 parameters in 6 tensors$/m)
    expect(text).toMatch(/^step 10\/20 {2}loss \d.* samples\/s {2}comm .* % {2}ETA /m)
    expect(text).toMatch(/^held-out +error \d/m)
    expect(text).toMatch(/^replicas +bit-equal on 2 devices$/m)
    expect(text).toMatch(/^written +.*r$/m)
    expect(resultOf(ended)).toMatchObject({
      steps: 20,
      replicasEqual: true,
      devices: names,
      setupSeconds: 0,
      unit: 'samples',
      samplesPerSecond: expect.any(Number),
      trainSeconds: expect.any(Number),
      run: expect.stringMatching(/r$/),
    })
  })

  it('prints one JSON object with --json', async () => {
    const ended = await train(['--steps=3', '--json'])
    expect(ended.lines).toHaveLength(1)
    expect(JSON.parse(ended.lines[0]!)).toMatchObject({ steps: 3, replicasEqual: true })
  })

  it('fails with the message and no result when the task is wrong', async () => {
    const ended = await train([...flagsFor(1), '--steps=2', '--batch-size=100000'])
    expect(ended.code).toBe(2)
    expect(ended.errors).toMatch(/no batch/)
    expect(ended.lines.filter((line) => line.startsWith('result'))).toEqual([])
  })
})

describe('the unit of the task', () => {
  it('is that of the progress, the result and, with tokens a sample, of tokens', async () => {
    const ended = await train(['--steps=4'], undefined, taskFile('sequences.ts'))
    expect(ended.errors).toBe('')
    const text = ended.lines.join('\n')
    expect(text).toMatch(/^plan +4 steps, 4 sequences a step/m)
    expect(text).toMatch(/^step 4\/4 .* sequences\/s {2}\S+ tokens\/s {2}comm/m)
    expect(text).toMatch(/^done +4 steps in .* sequences\/s {2}\S+ tokens\/s$/m)
    const result = resultOf(ended)
    expect(result).toMatchObject({ unit: 'sequences', sequencesPerSecond: result.samplesPerSecond })
    expect(result.tokensPerSecond / (16 * result.samplesPerSecond)).toBeCloseTo(1, 3)
    expect(result).not.toHaveProperty('imagesPerSecond')
  })
})

describe('an error of the task', () => {
  const linesOf = async (fault: string, file: string) => {
    process.env.WEFT_TEST_FAULT = fault
    try {
      const ended = await train([...flagsFor(1), '--steps=4'], undefined, file)
      expect(ended.code).toBeGreaterThan(0)
      return ended.errors.trimEnd().split('\n')
    } finally {
      delete process.env.WEFT_TEST_FAULT
    }
  }

  it('tells its file and line, in TypeScript too, and those of its causes', async () => {
    const file = taskFile('sequences.ts')
    const lineOf = (text: string) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .findIndex((line) => line.includes(text)) + 1
    const place = (text: string) => expect.stringContaining(`tasks/sequences.ts:${lineOf(text)}:`)
    expect(await linesOf('throw', file)).toEqual([
      expect.stringMatching(/^weft: WorkerError .*task\.loss threw Error: the words are gone$/),
      place("Error('the words are gone'"),
      '  caused by RangeError: no such page',
      place("RangeError('no such page'"),
    ])
    expect(await linesOf('shape', file)).toEqual([
      expect.stringMatching(/^weft: ShapeError .*task\.loss, rank 0/),
      place('zeros([3, 5])'),
    ])
    expect(await linesOf('model', file)).toEqual([
      expect.stringMatching(/^weft: WorkerError .*task\.model threw TypeError/),
      place('undefined as never'),
    ])
  })

  it('tells the place of a syntax error in JavaScript, and of one in what it imports', async () => {
    const broken = join(folder, 'broken.mjs')
    writeFileSync(join(folder, 'imports.mjs'), "import './broken.mjs'")
    writeFileSync(broken, 'const a = 1\nconst = 3\n')
    for (const file of [broken, join(folder, 'imports.mjs')]) {
      const [line] = await linesOf('none', file)
      expect(line).toMatch(/^weft: UsageError .*cannot be compiled: .*broken\.mjs:2:6: ERROR/)
    }
  })
})

describe('Ctrl-C', () => {
  it('stops at the end of the step, evaluates and leaves whole files', async () => {
    let interrupted = false
    const ended = await train(['--steps=10000000', '--log-every=20'], (line, running) => {
      if (interrupted || !line.startsWith('step ')) return
      interrupted = true
      running.kill('SIGINT')
    })
    expect(ended.code).toBe(130)
    const result = resultOf(ended)
    expect(result).toMatchObject({ stopped: true, replicasEqual: true })
    expect(result.steps).toBeGreaterThan(0)
    expect(ended.lines).toContain(`stopped after step ${result.steps}`)
    const run = join(folder, 'r')
    expect(readdirSync(run).sort()).toEqual([
      'config.json',
      'curves.svg',
      ...choicesFile,
      'metrics.jsonl',
      'result.json',
      'snapshot.bin',
      'weights.safetensors',
    ])
    expect(readJsonLines(join(run, 'metrics.jsonl')).at(-1)).toMatchObject({
      kind: 'evaluation',
      step: result.steps,
    })
    const weights = parseSafetensors(readFileSync(join(run, 'weights.safetensors')))
    expect(weights.metadata.step).toBe(String(result.steps))
  })

  it('twice ends at once, with a non-zero code and no partial file', async () => {
    let interrupts = 0
    const ended = await train(['--steps=10000000', '--log-every=20'], (line, running) => {
      // The second signal follows the answer to the first one: they are never merged.
      const first = interrupts === 0 && line.startsWith('step ')
      const second = interrupts === 1 && line.startsWith('stopping')
      if (!first && !second) return
      interrupts++
      running.kill('SIGINT')
    })
    expect(interrupts).toBe(2)
    expect(ended.code).toBeGreaterThan(0)
    const files = readdirSync(join(folder, 'r'))
    expect(files.filter((file) => file.endsWith('.tmp'))).toEqual([])
    expect(readFileSync(join(folder, 'r', 'metrics.jsonl'), 'utf8')).toMatch(/\n$/)
  })
})

describe('a run that is killed', () => {
  it('goes on with --resume, and gives what it would have given', async () => {
    // Long enough that the kill comes before the end, however late it is.
    const flags = ['--steps=2000', '--batch-size=8', '--log-every=500']
    const whole = resultOf(await train([...flags, '--run=whole']))
    const killed = await train(
      [...flags, '--checkpoint-every=20', '--best=error:min'],
      (line, running) => {
        if (/^step \d+ {2}checkpoint, /.test(line)) running.kill('SIGKILL')
      },
    )
    expect(killed.signal).toBe('SIGKILL')
    const resumed = await train(['--resume'])
    expect(resumed.errors).toBe('')
    expect(resumed.lines.join('\n')).toMatch(/^resumed +behind step \d+, .*r\/checkpoints\/step-0/m)
    const { steps, loss, metrics, replicasEqual, run } = resultOf(resumed)
    expect({ steps, loss, metrics, replicasEqual }).toEqual({
      steps: 2000,
      loss: whole.loss,
      metrics: whole.metrics,
      replicasEqual: true,
    })
    expect(run).toMatch(/\/r$/)
    expect(JSON.parse(readFileSync(join(folder, 'r/checkpoints/best.json'), 'utf8'))).toMatchObject(
      {
        metric: 'error',
      },
    )
    const wrong = await train(['--resume=nowhere'])
    expect(wrong.code).toBe(1)
    expect(wrong.errors).toMatch(/nothing to resume/)
    expect((await train(['--best=error'])).errors).toMatch(/accuracy:max/)
  })
})

describe('--shard', () => {
  it('tells the memory of each device, and what gradients and state take of it', async () => {
    const whole = resultOf(await train(['--steps=3', '--no-run']))
    expect(whole.memory).toBeUndefined()
    const ended = await train(['--steps=3', '--shard=all', '--no-run'])
    const result = resultOf(ended)
    expect(result.loss).toBe(whole.loss)
    expect(result.memory.map((use: { device: string }) => use.device)).toEqual(names)
    for (const [rank, name] of names.entries()) {
      const line = ended.lines.find((each) => each.includes(`${name}: parameters`))!
      expect(line.startsWith(rank === 0 ? 'memory    ' : '          ')).toBe(true)
      expect(line).toMatch(/gradients [\d.]+ KiB, optimizer state [\d.]+ KiB; at most [\d.]+ .iB/)
      const { optimizerBytes, gradientBytes } = result.memory[rank]
      expect(optimizerBytes).toBeGreaterThan(0)
      expect(optimizerBytes).toBeLessThanOrEqual(2 * gradientBytes)
    }
  })

  it('refuses a mesh that the devices do not make, and half of one', async () => {
    const wrong = await train(['--steps=3', '--shard=3'])
    expect(wrong.errors).toMatch(/shard 3 does not make 2 devices/)
    const half = await train(['--steps=3', '--replicate=2'])
    expect(half.errors).toMatch(/--replicate goes with --shard/)
    expect([wrong.code, half.code]).toEqual([2, 2])
  })
})
