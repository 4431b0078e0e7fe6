// How this process chooses GEMM kernels on GPUs: what openFabric() and the environment ask for, said to native
// code before a GPU opens, since nothing may change afterwards. devices.ts calls it for every device that is
// opened by name, fabric.ts with its options. Host devices have no choices: nothing here concerns them.
import { readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { native } from '../native/addon.js'
import { CheckpointError, UsageError } from '../native/errors.js'
import { packageVersion } from '../native/load.js'
import type { NativeGpu } from '../native/types.js'
import {
  choicesForGpus,
  type GemmChoices,
  gemmChoicesOf,
  parseGemmChoices,
  type WeftFacts,
} from './gemm-choices.js'

const mostBytes = 32 * 2 ** 20

/** What openFabric() takes of it. */
export interface GemmPolicyOptions {
  deterministic?: boolean
  gemmChoices?: string | URL
}

let facts: (WeftFacts & { gpus: NativeGpu[] }) | undefined

/** Asked once: what drivers tell of GPUs takes milliseconds, and none of it changes. */
function machineFacts() {
  facts ??= { weft: packageVersion(), ...native.gemmFacts() }
  return facts
}

const isGpu = (name: string) => name.startsWith('cuda')

/** The GPUs behind names such as `cuda:1/0`; ones that the machine lacks are left to openDevice(). */
function gpusOf(names: readonly string[], here: readonly NativeGpu[]): NativeGpu[] {
  return names.flatMap((name) => here[Number(/^cuda:(\d+)/.exec(name)?.[1] ?? -1)] ?? [])
}

function readChoices(source: string): string {
  try {
    if (statSync(source).size <= mostBytes) return readFileSync(source, 'utf8')
  } catch (error) {
    throw new CheckpointError(
      `the GEMM choices ${source} cannot be read: ${(error as Error).message}`,
      { source },
    )
  }
  throw new CheckpointError(`${source} is larger than any file of GEMM choices`, { source })
}

function give(file: string | URL, names: readonly string[]): void {
  const source = file instanceof URL ? fileURLToPath(file) : file
  const { weft, menu, gpus } = machineFacts()
  const choices = parseGemmChoices(readChoices(source), source, { weft, menu })
  const fitting = choicesForGpus(choices, source, gpusOf(names, gpus), gpus)
  native.giveGemmChoices(
    fitting.map(({ model, multiprocessors, choices }) => [
      model,
      multiprocessors,
      choices.map((c) => [c.kernel, c.m, c.n, c.k, c.batch, c.splits, c.swizzle]),
    ]),
  )
}

/** Applies WEFT_DETERMINISTIC and WEFT_GEMM_CHOICES before the devices called `names` open. */
export function settleByEnvironment(names: readonly string[]): void {
  if (!names.some(isGpu)) return
  const policy = native.gemmPolicy()
  const file = process.env.WEFT_GEMM_CHOICES
  if (file !== undefined && file !== '' && policy !== 'given') give(file, names)
}

/** Checks the options without applying them; throws UsageError. */
export function checkPolicyOptions({ deterministic, gemmChoices }: GemmPolicyOptions): void {
  if (deterministic !== undefined && typeof deterministic !== 'boolean') {
    throw new UsageError(`deterministic is true or false, not ${String(deterministic)}`)
  }
  if (gemmChoices === undefined || gemmChoices instanceof URL) return
  if (typeof gemmChoices !== 'string' || gemmChoices === '') {
    throw new UsageError('gemmChoices is the path or file URL of a gemm-choices.json')
  }
}

/** Applies what openFabric() was asked for before it opens the devices called `names`. */
export function settleByOptions(names: readonly string[], options: GemmPolicyOptions): void {
  const { deterministic, gemmChoices } = options
  if (gemmChoices !== undefined) give(gemmChoices, names)
  if (!names.some(isGpu)) return
  settleByEnvironment(names)
  if (deterministic === true) native.requireDeterministic()
  else if (deterministic === false && native.gemmPolicy() !== 'measured') {
    throw new UsageError(
      'deterministic: false, but this process chooses GEMM kernels without measuring: it was asked to ' +
        'before, by an option, WEFT_DETERMINISTIC or WEFT_GEMM_CHOICES. Leave the option out',
    )
  }
}

/** Takes back what settleByOptions() did, unless a GPU is open. Never throws. */
export function unsettle(): void {
  try {
    native.resetGemmPolicy()
  } catch {
    // WEFT_DETERMINISTIC is wrong: then there was no policy to take back.
  }
}

/** Are the bits of devices with these names free of measurements? */
export function isDeterministic(names: readonly string[]): boolean {
  return !names.some(isGpu) || native.gemmPolicy() !== 'measured'
}

/** What products on the given GPU models used so far in this process; undefined when there was none. */
export function usedGemmChoices(models: readonly string[]): GemmChoices | undefined {
  const used = native.gemmChoices().filter((gpu) => models.includes(gpu.model))
  if (used.every((gpu) => gpu.choices.length === 0)) return undefined
  return gemmChoicesOf(used, machineFacts())
}
