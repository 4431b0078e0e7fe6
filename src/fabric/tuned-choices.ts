// The choices of collectives that this machine measured (`weft tune`): where the file lies, whether it is used, and
// how a group gets them. Group.create and dispose call this; tune.ts writes the file.
//
// A group's lines name the group, so groups of other devices never see them. They lie in the process's table before
// all others; algorithms that are not loaded are passed by.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { native } from '../native/addon.js'
import { packageVersion } from '../native/load.js'
import { dtypeId } from '../tensor/dtype.js'
import { cacheFolder } from './cache-folder.js'
import { kindNumber } from './reduce-bench.js'
import { type MachineFacts, parseReduceChoices, type ReduceChoices } from './reduce-choices.js'

/** 'cached', 'off', or a file that `weft tune` wrote. */
export type TuneChoice = 'cached' | 'off' | (string & {}) | URL

let asked: TuneChoice | undefined
let warned = false
let sameBits = false

/** For groups made from now on. A file is read at once: CheckpointError when it is none. */
export function chooseTuning(choice: TuneChoice): void {
  if (choice !== 'cached' && choice !== 'off') readFile(choice)
  asked = choice
}

const pathOf = (file: string | URL) => (file instanceof URL ? fileURLToPath(file) : file)
const readFile = (file: string | URL) =>
  parseReduceChoices(readFileSync(pathOf(file), 'utf8'), pathOf(file))

/** What choices of these devices depend on. */
export function machineFacts(indices: readonly number[]): MachineFacts {
  const devices = native.devices().filter(({ index }) => indices.includes(index))
  const once = (list: string[]) => [...new Set(list)].sort()
  const links = native.topology([...indices])
  return {
    weft: packageVersion(),
    driver: devices[0]?.driverVersion ?? '',
    devices: once(
      devices.map(
        ({ model, multiprocessors, virtualIndex }) =>
          `${model}, ${multiprocessors} multiprocessors${virtualIndex >= 0 ? ', a part' : ''}`,
      ),
    ),
    links: once(links.map(({ kind, lanes, through }) => `${kind} x${lanes} ${through}`.trim())),
  }
}

/** The file of a machine: another model, driver or weft has another. */
export function choicesFile(facts: MachineFacts): string {
  const key = createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 16)
  return join(cacheFolder(), `allreduce-${key}.json`)
}

/** The file of these devices; undefined when there is none. Throws CheckpointError for a damaged one. */
export function readChoices(facts: MachineFacts): ReduceChoices | undefined {
  const file = choicesFile(facts)
  return existsSync(file) ? readFile(file) : undefined
}

/** Measured choices change the order of sums: not for who asks for the same bits in every process. */
export function refuseMeasured(): void {
  sameBits = true
}

function wantsSameBits(): boolean {
  const { WEFT_DETERMINISTIC, WEFT_GEMM_CHOICES } = process.env
  const byEnvironment = WEFT_DETERMINISTIC === '1' || Boolean(WEFT_GEMM_CHOICES)
  return sameBits || byEnvironment || native.gemmPolicy() !== 'measured'
}

function chosen(indices: readonly number[]): ReduceChoices | undefined {
  const choice = asked ?? (process.env.WEFT_TUNE || 'cached')
  if (choice === 'off') return undefined
  if (choice !== 'cached') return readFile(choice)
  if (wantsSameBits()) return undefined
  try {
    return readChoices(machineFacts(indices))
  } catch (error) {
    // A cache that cannot be read must stop no program.
    if (!warned) process.emitWarning(`measured choices are left out: ${(error as Error).message}`)
    warned = true
    return undefined
  }
}

const tuned = new Set<number>()

/** Gives a new group what was measured for its devices and number of ranks. */
export function applyTunedChoices(group: number, indices: readonly number[]): void {
  if (indices.length < 2) return
  const entries = chosen(indices)?.entries.filter(({ ranks }) => ranks === indices.length) ?? []
  const names: string[] = []
  const numbers: number[] = []
  for (const { kind, dtype, inPlace, lines } of entries) {
    // The table's sizes are of what one rank gives or gets: of a slice.
    const parts = kind === 'allReduce' ? 1 : indices.length
    const place = kind === 'allReduce' ? Number(inPlace) : -1
    for (const { maxBytes, algorithms } of lines) {
      for (const name of algorithms) {
        names.push(name)
        const limit = maxBytes === null ? Number.MAX_VALUE : Math.floor(maxBytes / parts)
        numbers.push(kindNumber(kind), limit, kind === 'allGather' ? -1 : dtypeId(dtype), place)
      }
    }
  }
  if (names.length === 0) return
  native.tuneGroup(group, names.join(','), new Float64Array(numbers))
  tuned.add(group)
}

/** The group is gone. */
export function forgetTunedChoices(group: number): void {
  if (tuned.delete(group)) native.tuneGroup(group, '', new Float64Array(0))
}

/** Does a group of this thread go by measured choices? */
export const usesTunedChoices = (): boolean => tuned.size > 0
