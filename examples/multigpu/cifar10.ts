// CIFAR-10 (Krizhevsky 2009) from its official binary files: records of one label byte and 3 × 32 × 32 bytes,
// red, green, blue, rows from the top. Also a synthetic stand-in for machines without the files. No tensors
// and no device here; vit-cifar10.ts makes batches of it.
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

export const classes = [
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
] as const

export const side = 32
const plane = side * side
export const imageBytes = 3 * plane
const recordBytes = 1 + imageBytes
const recordsAFile = 10_000
const trainFiles = [1, 2, 3, 4, 5].map((i) => `data_batch_${i}.bin`)
const testFiles = ['test_batch.bin']
const padding = 4

/** Mean and deviation of the training images' channels, of pixels from 0 to 1. */
const means = [0.4914, 0.4822, 0.4465]
const deviations = [0.247, 0.2435, 0.2616]
/** Normalised value of each byte, a table a channel. */
const normalised = means.map((mean, c) =>
  Float32Array.from({ length: 256 }, (_, byte) => (byte / 255 - mean) / (deviations[c] as number)),
)

/** Images of one split. */
export interface Images {
  /** (count, 3, 32, 32). */
  pixels: Uint8Array
  labels: Uint8Array
}

export interface Cifar10 {
  train: Images
  test: Images
  /** True: made patterns, no photographs. */
  synthetic: boolean
}

/** The files are not there, or are not what they should be. The message says what to do. */
export class DatasetError extends Error {
  override name = 'DatasetError'
  readonly code = 'DATASET'
}

const remedy = (folder: string) =>
  'Get cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it so that ' +
  `the .bin files lie in ${folder}, or name their folder in WEFT_CIFAR10. ` +
  'WEFT_CIFAR10=synthetic runs on made patterns instead.'

/** Where the data come from: a folder, or 'synthetic'. */
export const cifar10Source = () => process.env.WEFT_CIFAR10 || 'data/cifar-10-batches-bin'

/**
 * Both splits of `source`: a folder with the official files, or 'synthetic'.
 *
 * @param records a file holds; the official ones have 10,000
 * @throws DatasetError  a file is missing, has another size or a label above 9
 */
export function loadCifar10(source = cifar10Source(), records = recordsAFile): Cifar10 {
  if (source === 'synthetic') {
    return { train: patterns(10_000, 1), test: patterns(2_000, 2), synthetic: true }
  }
  const folder = resolve(source)
  return {
    train: readImages(folder, trainFiles, records),
    test: readImages(folder, testFiles, records),
    synthetic: false,
  }
}

function readImages(folder: string, files: readonly string[], records: number): Images {
  const pixels = new Uint8Array(files.length * records * imageBytes)
  const labels = new Uint8Array(files.length * records)
  let at = 0
  for (const name of files) {
    const bytes = readRecords(folder, name, records)
    for (let r = 0; r < bytes.length; r += recordBytes, at++) {
      const label = bytes[r] as number
      if (label >= classes.length) {
        const where = `${join(folder, name)}: record ${r / recordBytes} has label ${label}`
        throw new DatasetError(`${where}, not 0 to 9. The file is damaged. ${remedy(folder)}`)
      }
      labels[at] = label
      pixels.set(bytes.subarray(r + 1, r + recordBytes), at * imageBytes)
    }
  }
  return { pixels, labels }
}

function readRecords(folder: string, name: string, records: number): Uint8Array {
  const path = join(folder, name)
  let bytes: Uint8Array
  try {
    bytes = readFileSync(path)
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'is missing' : String(error)
    throw new DatasetError(`CIFAR-10: ${path} ${reason}. ${remedy(folder)}`, { cause: error })
  }
  const expected = records * recordBytes
  if (bytes.length !== expected) {
    throw new DatasetError(
      `CIFAR-10: ${path} has ${bytes.length} bytes, not ${expected} (${records} records of ` +
        `${recordBytes}). ${remedy(folder)}`,
    )
  }
  return bytes
}

/**
 * A learnable stand-in: a grey grating whose two frequencies tell the class, at a random phase, under noise.
 * Crops and mirrors of it keep their class.
 */
function patterns(count: number, seed: number): Images {
  const pixels = new Uint8Array(count * imageBytes)
  const labels = new Uint8Array(count)
  const wave = Float32Array.from(
    { length: side },
    (_, i) => 50 * Math.sin((2 * Math.PI * i) / side),
  )
  let state = seed
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state >>> 16 // the low bits of this generator are poor
  }
  for (let i = 0; i < count; i++) {
    const label = i % classes.length
    labels[i] = label
    const [across, down] = [1 + (label % 5), 1 + 3 * Math.floor(label / 5)]
    const phase = next()
    for (let p = 0; p < imageBytes; p++) {
      const angle = across * (p % side) + down * ((p % plane) >> 5) + phase
      pixels[i * imageBytes + p] = 80 + (wave[angle % side] as number) + (next() & 95)
    }
  }
  return { pixels, labels }
}

/**
 * Writes image `index` of `images`, normalised, to row `row` of `out` (rows, 3, 32, 32). With `next`, a
 * source of random whole numbers: cropped out of a border of 4 black pixels and mirrored half of the time.
 */
export function writeImage(
  out: Float32Array,
  row: number,
  images: Images,
  index: number,
  next?: () => number,
): void {
  const dx = next ? (next() % (2 * padding + 1)) - padding : 0
  const dy = next ? (next() % (2 * padding + 1)) - padding : 0
  const mirrored = next ? next() % 2 === 1 : false
  const step = mirrored ? -1 : 1
  const first = (mirrored ? side - 1 : 0) + dx
  for (let c = 0; c < 3; c++) {
    const values = normalised[c] as Float32Array
    const black = values[0] as number
    for (let y = 0; y < side; y++) {
      const from = index * imageBytes + c * plane + (y + dy) * side
      const to = row * imageBytes + c * plane + y * side
      const inside = y + dy >= 0 && y + dy < side
      for (let x = 0, sx = first; x < side; x++, sx += step) {
        const seen = inside && sx >= 0 && sx < side
        out[to + x] = seen ? (values[images.pixels[from + sx] as number] as number) : black
      }
    }
  }
}
