// One set-up at a time in a checkout: a lock file that names its process. A second set-up waits for the
// first; a lock whose process is gone is taken over. scripts/setup.mjs holds it while it builds.
import {
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import { readJson } from '../children.mjs'

const limitMs = 30 * 60_000
const lookEveryMs = 1000

/** When a process began, in clock ticks since boot; tells a process from a later one with its id. */
export function processStart(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return null
  }
}

/** Whether the process that wrote this lock still runs. */
export function isHeld(holder) {
  if (!holder || typeof holder.pid !== 'number') return false
  const start = processStart(holder.pid)
  return start !== null && start === holder.start
}

function tryTake(path) {
  const mine = { pid: process.pid, start: processStart(process.pid) }
  try {
    writeFileSync(path, JSON.stringify(mine), { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    return false
  }
}

/** Removes the lock of a process that is gone; puts it back if another took it over meanwhile. */
function removeStale(path) {
  const aside = `${path}.${process.pid}`
  try {
    renameSync(path, aside)
    if (isHeld(readJson(aside))) linkSync(aside, path)
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error
  } finally {
    rmSync(aside, { force: true })
  }
}

/** Resolves when the lock file changes or it is time to look whether its process still runs. */
function changed(path) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      watcher.close()
      resolve()
    }
    const timer = setTimeout(done, lookEveryMs)
    const watcher = watch(dirname(path), (_, name) => name === basename(path) && done())
    watcher.on('error', done)
  })
}

/**
 * Takes the lock, waiting for another set-up if need be; the answer gives it back.
 *
 * @param {string} path
 * @param {(pid: number) => void} onWait called once when another set-up holds it
 */
export async function takeLock(path, onWait) {
  mkdirSync(dirname(path), { recursive: true })
  const deadline = performance.now() + limitMs
  let told = false
  while (!tryTake(path)) {
    const holder = readJson(path)
    // An unreadable lock is one being written now, or one torn by a crash: look once more first.
    if (holder ? !isHeld(holder) : told) {
      removeStale(path)
      continue
    }
    if (performance.now() > deadline) {
      throw new Error(`another set-up (process ${holder?.pid}) has held ${path} for 30 minutes`)
    }
    if (!told && holder) onWait(holder.pid)
    told = true
    await changed(path)
  }
  const giveBack = () => rmSync(path, { force: true })
  process.once('exit', giveBack)
  return () => {
    process.off('exit', giveBack)
    giveBack()
  }
}
