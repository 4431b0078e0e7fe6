// The soak of killed runs: a training on several devices is killed by SIGKILL at random moments, the writing of
// checkpoints among them, and started again until it is done. Each must end with the bits of the run that nobody
// killed, and go on from the newest checkpoint that this file, by its own look, finds whole.
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { randomStream } from '../fuzz/program.js'

const limitMs = 120_000
const program = join(process.cwd(), 'test/soak/killed-run.mjs')

interface Line {
  kind: string
  step?: number
  steps?: number
  hash?: string
  equal?: boolean
}

/** Runs the program; killed `killMs` after its workers were ready, or before that where it is negative. */
async function attempt(args: string[], killMs?: number) {
  const child: ChildProcess = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const kill = () => child.kill('SIGKILL')
  const limit = setTimeout(kill, limitMs)
  let timer = killMs !== undefined && killMs < 0 ? setTimeout(kill, -killMs) : undefined
  const lines: Line[] = []
  let [begun, ended] = [0, 0]
  createInterface({ input: child.stdout! }).on('line', (text) => {
    const line = JSON.parse(text) as Line
    lines.push(line)
    if (line.kind === 'result') ended = performance.now()
    if (line.kind !== 'start') return
    begun ||= performance.now()
    if (killMs !== undefined) timer ??= setTimeout(kill, killMs)
  })
  let errors = ''
  child.stderr!.on('data', (text) => {
    errors += text
  })
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on('close', (code, signal) => resolve([code, signal]))
  })
  clearTimeout(limit)
  clearTimeout(timer)
  const result = lines.find(({ kind }) => kind === 'result')
  return { code, signal, errors, lines, result, ms: Math.round(ended - begun) }
}

/** Steps of the checkpoints in a run's folder that are whole, newest first, and how many are torn. */
function look(run: string): { whole: number[]; torn: number } {
  const folder = join(run, 'checkpoints')
  const names = existsSync(folder)
    ? readdirSync(folder).filter((name) => name.startsWith('step-'))
    : []
  const whole: number[] = []
  for (const name of names) {
    const path = join(folder, name)
    const manifest = join(path, 'checkpoint.json')
    if (!existsSync(manifest)) continue
    const { files, step } = JSON.parse(readFileSync(manifest, 'utf8')) as {
      step: number
      files: Record<string, { sha256: string }>
    }
    for (const [file, { sha256 }] of Object.entries(files)) {
      const found = createHash('sha256')
        .update(readFileSync(join(path, file)))
        .digest('hex')
      if (found !== sha256) throw new Error(`${path} has a manifest, but its ${file} is torn`)
    }
    whole.push(step)
  }
  return { whole: whole.sort((a, b) => b - a), torn: names.length - whole.length }
}

const tally = { kills: 0, torn: 0, again: 0, restarts: 0 }

/** What is run: where, what it must end with, and how long it takes when nobody kills it. */
interface Soaked {
  device: string
  steps: number
  expected: Line
  runMs: number
}

/** One run, killed up to three times; what is wrong with it, undefined where nothing is. */
async function soakRun(
  folder: string,
  { device, steps, expected, runMs }: Soaked,
  draw: (below: number) => number,
): Promise<string | undefined> {
  const run = join(folder, 'r')
  const args = [folder, device, String(steps), String(1 + draw(6))]
  for (let kills = 1 + draw(3); kills >= 0; kills--) {
    const before = look(run)
    // One in eight is killed while it starts.
    const killMs = kills === 0 ? undefined : draw(8) === 0 ? -1 - draw(700) : draw(runMs)
    const { code, signal, errors, lines, result } = await attempt(args, killMs)
    if (code !== 0 && signal !== 'SIGKILL') return `it ended with ${code}: ${errors}`
    const resumed = lines.find(({ kind }) => kind === 'resumed')?.step
    const ready = lines.some(({ kind }) => kind === 'start')
    // 'resumed' follows 'start': a kill between the two tells nothing.
    const told = resumed !== undefined || lines.length > 1
    if (ready && told && resumed !== before.whole[0]) {
      return `it went on from step ${resumed}, the newest whole checkpoint is of ${before.whole[0]}`
    }
    if (resumed !== undefined) tally.again++
    if (result !== undefined) return differs(result, expected)
    tally.kills++
    tally.torn += look(run).torn > before.torn ? 1 : 0
  }
  return 'it was killed at the time limit'
}

function differs(result: Line, expected: Line): string | undefined {
  const same =
    result.hash === expected.hash && result.steps === expected.steps && result.equal === true
  return same ? undefined : `${JSON.stringify(result)} is not ${JSON.stringify(expected)}`
}

/** One run whose workers are terminated. */
async function soakWorkers(
  folder: string,
  { device, steps, expected, runMs }: Soaked,
  draw: (below: number) => number,
): Promise<string | undefined> {
  const every = String(1 + draw(6))
  const args = [
    folder,
    device,
    String(steps),
    every,
    'workers',
    String(draw(2 ** 31)),
    String(runMs),
  ]
  const { code, errors, lines, result } = await attempt(args)
  tally.restarts += lines.filter(({ kind }) => kind === 'restart').length
  look(join(folder, 'r'))
  return result === undefined ? `it ended with ${code}: ${errors}` : differs(result, expected)
}

/** Kills `runs` runs; the number of failures. */
export async function soakKills({
  runs,
  seed: first,
  workers,
  device,
  steps,
  print,
}: {
  runs: number
  seed: number
  workers: boolean
  device: string
  /** Of each run. */
  steps: number
  print: (line: string) => void
}): Promise<number> {
  const root = mkdtempSync(join(tmpdir(), 'weft-kills-'))
  const started = performance.now()
  const whole = await attempt([root, device, String(steps), 'none'])
  const { result: expected, ms: runMs } = whole
  if (expected === undefined) throw new Error(`the run that nobody kills failed: ${whole.errors}`)
  let failed = 0
  for (let seed = first; seed < first + runs && failed < 10; seed++) {
    const folder = join(root, String(seed))
    const soak = workers ? soakWorkers : soakRun
    const wrong = await soak(folder, { device, steps, expected, runMs }, randomStream(seed)).catch(
      String,
    )
    if (wrong === undefined) {
      rmSync(folder, { recursive: true, force: true })
      continue
    }
    failed++
    print(`seed ${seed}: ${wrong} (${folder})`)
  }
  if (failed === 0) rmSync(root, { recursive: true })
  const seconds = Number(((performance.now() - started) / 1000).toFixed(1))
  const line = {
    soak: 'kill',
    workers,
    device,
    runs,
    seed: first,
    ...tally,
    failed,
    runMs,
    seconds,
  }
  print(JSON.stringify(line))
  return failed
}
