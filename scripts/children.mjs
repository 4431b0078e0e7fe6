// Child processes of the scripts: each has a time limit, an own process group that ends as a whole,
// and, where asked, a log file. Set-up, tests, sanitizers and lint start everything through here.
import { spawn } from 'node:child_process'
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * @typedef {object} ChildResult
 * @property {number} code exit code; 1 where a signal ended it
 * @property {string | null} signal
 * @property {boolean} timedOut
 * @property {number} seconds
 * @property {string} output stdout and stderr together, the last 64 KiB
 * @property {string | null} failure why it could not be started
 */

const outputLimit = 65536
const running = new Set()

function forward(signal) {
  for (const child of running) endGroup(child, signal)
  process.exit(signal === 'SIGINT' ? 130 : 143)
}

function endGroup(child, signal) {
  try {
    process.kill(-child.pid, signal)
  } catch {
    // It has ended already.
  }
}

function watchSignals() {
  if (process.listenerCount('SIGINT', forward) === 0) {
    process.on('SIGINT', forward)
    process.on('SIGTERM', forward)
  }
}

function ignoreSignals() {
  process.off('SIGINT', forward)
  process.off('SIGTERM', forward)
}

/** Where the output of step `name` is kept. */
export const logOf = (root, name) => join(root, '.weft/log', `${name}.log`)

/**
 * Runs a command to its end; never throws. `log`: a file that gets all output. `live`: the output also
 * goes to this process's own. `onLine`: called with each line.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {{ limitSeconds: number, cwd?: string, env?: Record<string, string | undefined>, log?: string,
 *   live?: boolean, onLine?: (line: string) => void }} options
 * @returns {Promise<ChildResult>}
 */
export function runChild(command, args, options) {
  const start = performance.now()
  return new Promise((resolve) => {
    watchSignals()
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let log = null
    if (options.log) {
      mkdirSync(dirname(options.log), { recursive: true })
      log = createWriteStream(options.log)
      log.write(`$ ${command} ${args.join(' ')}\n`)
    }
    let output = ''
    let line = ''
    let timedOut = false
    let failure = null
    const timer = setTimeout(() => {
      timedOut = true
      endGroup(child, 'SIGKILL')
    }, options.limitSeconds * 1000)
    const take = (sink) => (chunk) => {
      output = (output + chunk).slice(-outputLimit)
      log?.write(chunk)
      if (options.live) sink.write(chunk)
      if (options.onLine) {
        const lines = (line + chunk).split('\n')
        line = lines.pop()
        for (const each of lines) options.onLine(each)
      }
    }
    child.stdout.setEncoding('utf8').on('data', take(process.stdout))
    child.stderr.setEncoding('utf8').on('data', take(process.stderr))
    child.on('error', (error) => {
      failure = error.message
      if (child.pid === undefined) finish(127, null)
    })
    child.on('close', (code, signal) => finish(code ?? 1, signal))
    if (child.pid !== undefined) running.add(child)

    function finish(code, signal) {
      clearTimeout(timer)
      running.delete(child)
      if (running.size === 0) ignoreSignals()
      const seconds = (performance.now() - start) / 1000
      const result = { code, signal, timedOut, seconds, output, failure }
      if (log) log.end(() => resolve(result))
      else resolve(result)
    }
  })
}

/** One sentence on how a child failed. */
export function describeFailure(result) {
  if (result.failure) return `could not be started: ${result.failure}`
  if (result.timedOut) return `was stopped after ${result.seconds.toFixed(0)} s, its time limit`
  if (result.signal) return `was ended by ${result.signal}`
  return `ended with exit code ${result.code}`
}

/** The last lines of a log, for a failure message. */
export function tailOf(text, lines = 40) {
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}

/** Of a build's output, what says why it failed: from its first failed command on, else the end. */
export function whyFailed(output) {
  const at = output.search(/^(FAILED:|CMake Error|make.*Error)/m)
  return at < 0 ? tailOf(output) : output.slice(at, at + 4000).trimEnd()
}

/** A JSON file's content, or `null` where it is missing or torn. */
export function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return null
  }
}
