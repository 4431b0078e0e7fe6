// The file of GEMM choices that a run used (gemm-choices.json in its folder), and what is refused of one that
// is given back. Whether a row is a choice that weft would make, native code checks: it knows the kernels.
// gemm-policy.ts reads and applies it. Pure.
import { CheckpointError, DeviceError } from '../native/errors.js'
import type { NativeGemmChoice, NativeGpu } from '../native/types.js'

const format = 'weft-gemm-choices'
const formatVersion = 1
/** Choices of one GPU model: a program has some dozens to hundreds of shapes. */
const mostChoices = 100_000

/** The kernels that products on one GPU model used, one a shape. */
export interface GpuGemmChoices extends NativeGpu {
  choices: NativeGemmChoice[]
}

/** What gemm-choices.json holds. */
export interface GemmChoices {
  format: typeof format
  version: number
  /** The weft that made them: another one may have other kernels under these names. */
  weft: string
  /** Version of its menu of kernels. */
  menu: number
  gpus: GpuGemmChoices[]
}

/** The weft that reads the file. */
export interface WeftFacts {
  weft: string
  menu: number
}

/** The file's content for what products used. */
export function gemmChoicesOf(gpus: GpuGemmChoices[], { weft, menu }: WeftFacts): GemmChoices {
  return { format, version: formatVersion, weft, menu, gpus }
}

/** Reads the file's text. Throws CheckpointError, naming `source`, for anything that is not one of this weft. */
export function parseGemmChoices(text: string, source: string, facts: WeftFacts): GemmChoices {
  const refuse = (why: string): never => {
    throw new CheckpointError(`${source} holds no GEMM choices for this weft: ${why}`, { source })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return refuse(`it is not JSON (${(error as Error).message})`)
  }
  if (!isRecord(value) || value.format !== format) return refuse(`it has no format "${format}"`)
  if (value.version !== formatVersion) {
    return refuse(`its version is ${show(value.version)}, this weft reads ${formatVersion}`)
  }
  if (value.weft !== facts.weft || value.menu !== facts.menu) {
    const made = `weft ${show(value.weft)} with kernels of version ${show(value.menu)}`
    return refuse(
      `${made} made it, this is weft "${facts.weft}" with version ${facts.menu}: bits would differ. ` +
        'Use that weft, or train without the file',
    )
  }
  if (!Array.isArray(value.gpus) || value.gpus.length === 0) return refuse('it names no GPU')
  const gpus = value.gpus.map((gpu, i) => readGpu(gpu, (why) => refuse(`gpus[${i}] ${why}`)))
  const names = gpus.map(({ model, multiprocessors }) => `${multiprocessors} ${model}`)
  if (new Set(names).size < names.length) return refuse('it names a GPU twice')
  return gemmChoicesOf(gpus, facts)
}

type Refuse = (why: string) => never

function readGpu(value: unknown, refuse: Refuse): GpuGemmChoices {
  if (!isRecord(value)) return refuse('is no object')
  const { model, multiprocessors, choices } = value
  if (typeof model !== 'string' || model === '' || model.length > 255) return refuse('has no model')
  if (!isCount(multiprocessors, 1)) return refuse('has no number of multiprocessors')
  if (!Array.isArray(choices)) return refuse('has no list of choices')
  if (choices.length > mostChoices) return refuse(`has more than ${mostChoices} choices`)
  return {
    model,
    multiprocessors,
    choices: choices.map((choice, i) =>
      readChoice(choice, (why) => refuse(`choice ${i + 1} ${why}`)),
    ),
  }
}

function readChoice(value: unknown, refuse: Refuse): NativeGemmChoice {
  if (!isRecord(value)) return refuse('is no object')
  const { kernel } = value
  if (typeof kernel !== 'string' || kernel === '' || kernel.length > 63) {
    return refuse('names no kernel')
  }
  const whole = (name: string, least: number): number => {
    const found = value[name]
    return isCount(found, least)
      ? found
      : refuse(`has ${name} ${show(found)}, which is no whole number from ${least} on`)
  }
  return {
    kernel,
    m: whole('m', 1),
    n: whole('n', 1),
    k: whole('k', 1),
    batch: whole('batch', 1),
    splits: whole('splits', 0),
    swizzle: whole('swizzle', 1),
  }
}

/**
 * The part of `file` for the GPUs `here`. Throws DeviceError where one of `asked`, the GPUs that are to be
 * opened, is not among those that the choices are of.
 */
export function choicesForGpus(
  file: GemmChoices,
  source: string,
  asked: readonly NativeGpu[],
  here: readonly NativeGpu[],
): GpuGemmChoices[] {
  const isOf = (gpu: NativeGpu) => (other: NativeGpu) =>
    other.model === gpu.model && other.multiprocessors === gpu.multiprocessors
  const missing = asked.find((gpu) => !file.gpus.some(isOf(gpu)))
  if (missing === undefined && asked.length > 0) {
    return file.gpus.filter((gpu) => here.some(isOf(gpu)))
  }
  const models = file.gpus.map(describe).join(', ')
  const place = missing === undefined ? 'no GPU is to be used' : `this GPU is ${describe(missing)}`
  throw new DeviceError(
    `the GEMM choices of ${source} are of ${models}; ${place}. Choices hold for one GPU model alone: ` +
      'leave the file out (deterministic: true gives the same bits on every run)',
    { source, models: file.gpus.map((gpu) => gpu.model) },
  )
}

const describe = ({ model, multiprocessors }: NativeGpu) =>
  `${model} with ${multiprocessors} multiprocessors`

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isCount = (value: unknown, least: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= least && value < 2 ** 31

/** A foreign value in a message, never more than a few words of it. */
const show = (value: unknown) => (JSON.stringify(value) ?? String(value)).slice(0, 60)
