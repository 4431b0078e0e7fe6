// The file that keeps what tests of pairs found, one a machine: probe.json in the cache folder. Fabric.probe() asks here. A convenience: a file that cannot be read
// or written is a warning, and pairs are tested again.
//
// A pair is kept under the GPUs' driver version and its two UUIDs, so that another driver or another GPU is
// tested anew. A pair that failed is kept until the machine restarts: what broke it may be mended then. One that
// the driver refuses is not kept, since asking the driver again costs nothing. Replaced as a whole.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import type { PairProbe, PathProbe } from '../native/link-types.js'
import type { NativeDevice } from '../native/types.js'
import { cacheFolder } from './cache-folder.js'

const version = 1
const states = ['untested', 'works', 'wrong', 'hangs']

/** What is kept of one pair. */
export interface KeptPair extends PairProbe {
  /** When it was tested, ISO 8601. */
  tested: string
  /** Of a pair that failed: the start of the machine in which it did. */
  boot?: string
}

interface KeptFile {
  version: number
  machine: string
  pairs: Record<string, KeptPair>
}

/** Where the results lie. */
export const probeFile = (): string => join(cacheFolder(), 'probe.json')

/** Name of a pair in the file. */
export function pairKey(from: NativeDevice, to: NativeDevice): string {
  const driver = from.driverVersion ? `${from.driver} ${from.driverVersion}` : from.driver
  return `${driver}: ${from.uuid} to ${to.uuid}`
}

/** Pairs of this machine that still hold; `warn` hears what is wrong with the file. */
export function keptPairs(warn = warnAbout): Map<string, KeptPair> {
  const path = probeFile()
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') warn(path, 'cannot be read', error)
    return new Map()
  }
  try {
    const file = JSON.parse(text) as KeptFile
    if (typeof file.version !== 'number') throw new Error('it has no version')
    if (file.version !== version || file.machine !== machine()) return new Map()
    const pairs = Object.entries(file.pairs)
    const odd = pairs.find(([, pair]) => !isPair(pair))
    if (odd !== undefined) throw new Error(`${odd[0]} is not the result of a test`)
    return new Map(pairs.filter(([, { boot }]) => boot === undefined || boot === bootId()))
  } catch (error) {
    warn(path, 'is damaged: pairs are tested again and the file is replaced', error)
    return new Map()
  }
}

/** Adds results to the file. */
export function keepPairs(fresh: ReadonlyMap<string, PairProbe>): void {
  const path = probeFile()
  const half = `${path}.${process.pid}.tmp`
  const tested = new Date().toISOString()
  const pairs = keptPairs(() => {}) // who looked first has warned
  for (const [key, pair] of fresh) {
    if ([pair.copy.state, pair.kernel.state].includes('refused')) continue
    pairs.set(key, { ...pair, tested, ...(pair.reason === '' ? {} : { boot: bootId() }) })
  }
  const file: KeptFile = { version, machine: machine(), pairs: Object.fromEntries(pairs) }
  try {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(half, `${JSON.stringify(file, null, 1)}\n`)
    renameSync(half, path)
  } catch (error) {
    dropHalf(half)
    warnAbout(path, 'cannot be written', error)
  }
}

function firstLine(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return '' // not every system and container has it
  }
}

/** The machine's own id; its name where it has none. */
const machine = () => firstLine('/etc/machine-id') || hostname()
const bootId = () => firstLine('/proc/sys/kernel/random/boot_id')

function isPath(path: Partial<PathProbe> | undefined): boolean {
  const numbers = [path?.gbps, path?.bothGbps, path?.latencyUs]
  return (
    states.includes(path?.state as string) &&
    numbers.every((n) => typeof n === 'number' && Number.isFinite(n) && n >= 0)
  )
}

/** A pair is used exactly where both ways work. */
function isPair(pair: Partial<KeptPair> | null): boolean {
  if (typeof pair?.reason !== 'string' || typeof pair.tested !== 'string') return false
  if (!isPath(pair.copy) || !isPath(pair.kernel)) return false
  const works = pair.copy?.state === 'works' && pair.kernel?.state === 'works'
  return works ? pair.reason === '' : pair.reason !== '' && typeof pair.boot === 'string'
}

function dropHalf(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // no folder, so nothing to drop
  }
}

function warnAbout(path: string, what: string, error: unknown): void {
  process.emitWarning(`${path} ${what} (${(error as Error).message})`, 'WeftProbeFile')
}
