// The CIFAR-10 reader of the examples: what it makes of files in the official format, what it says about
// missing and damaged ones, and that crops and mirrors move pixels where they should.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  DatasetError,
  imageBytes,
  loadCifar10,
  side,
  writeImage,
} from '../../examples/multigpu/cifar10.js'

const records = 3
const names = [1, 2, 3, 4, 5].map((i) => `data_batch_${i}.bin`).concat('test_batch.bin')

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-cifar10-'))
  for (const [f, name] of names.entries()) writeFileSync(join(folder, name), file(f))
})
afterEach(() => rmSync(folder, { recursive: true }))

const labelOf = (f: number, record: number) => (3 * f + record) % 10
const pixelOf = (f: number, record: number, p: number) => (17 * f + 5 * record + p) % 256

/** File `f` of the set, byte by byte as the data set's own page describes it. */
function file(f: number): Uint8Array {
  const bytes = new Uint8Array(records * (1 + imageBytes))
  for (let r = 0; r < records; r++) {
    const start = r * (1 + imageBytes)
    bytes[start] = labelOf(f, r)
    for (let p = 0; p < imageBytes; p++) bytes[start + 1 + p] = pixelOf(f, r, p)
  }
  return bytes
}

const reading = (of = folder) => {
  return () => loadCifar10(of, records)
}

describe('official files', () => {
  it('give every record of the five batches in order, and the test batch apart', () => {
    const { train, test, synthetic } = loadCifar10(folder, records)
    expect(synthetic).toBe(false)
    expect([...train.labels]).toEqual(
      [0, 1, 2, 3, 4].flatMap((f) => [labelOf(f, 0), labelOf(f, 1), labelOf(f, 2)]),
    )
    expect([...test.labels]).toEqual([labelOf(5, 0), labelOf(5, 1), labelOf(5, 2)])
    expect(train.pixels).toHaveLength(15 * imageBytes)
    expect(train.pixels[4 * imageBytes + 7]).toBe(pixelOf(1, 1, 7))
    expect(test.pixels[2 * imageBytes + 3071]).toBe(pixelOf(5, 2, 3071))
  })

  it('that are not there: an error says where to get them and where to put them', () => {
    const missing = join(folder, 'nowhere')
    expect(reading(missing)).toThrow(DatasetError)
    expect(reading(missing)).toThrow(/data_batch_1\.bin is missing/)
    expect(reading(missing)).toThrow(/https:\/\/www\.cs\.toronto\.edu\/~kriz\/cifar\.html/)
    expect(reading(missing)).toThrow(/cifar-10-binary\.tar\.gz .*unpack it .*nowhere/)
    expect(reading(missing)).toThrow(/WEFT_CIFAR10=synthetic/)
  })

  it('of a wrong size: the error names the file and both sizes', () => {
    const path = join(folder, 'test_batch.bin')
    writeFileSync(path, readFileSync(path).subarray(0, 5000))
    expect(reading()).toThrow(/test_batch\.bin has 5000 bytes, not 9219/)
  })

  it('with a label above 9: the error names the record', () => {
    const bytes = file(2)
    bytes[1 + imageBytes] = 10
    writeFileSync(join(folder, 'data_batch_3.bin'), bytes)
    expect(reading()).toThrow(/data_batch_3\.bin: record 1 has label 10.*damaged/)
  })
})

describe('images for the model', () => {
  const at = (c: number, y: number, x: number) => (c * side + y) * side + x
  const normal = (c: number, byte: number) => {
    const mean = [0.4914, 0.4822, 0.4465][c] as number
    return (byte / 255 - mean) / ([0.247, 0.2435, 0.2616][c] as number)
  }
  const draws = (...values: number[]) => {
    return () => values.shift() as number
  }
  const written = (index: number, next?: () => number) => {
    const { train } = loadCifar10(folder, records)
    const out = new Float32Array(2 * imageBytes)
    writeImage(out, 1, train, index, next)
    expect(out.subarray(0, imageBytes).every((v) => v === 0)).toBe(true)
    return out.subarray(imageBytes)
  }

  it('are normalised a channel, red first', () => {
    const image = written(4)
    for (const [c, y, x] of [
      [0, 0, 0],
      [1, 3, 30],
      [2, 31, 31],
    ] as const) {
      expect(image[at(c, y, x)]).toBeCloseTo(normal(c, pixelOf(1, 1, at(c, y, x))), 5)
    }
  })

  it('cropped: moved by the offset, black outside', () => {
    // Offsets 1 and 8 of 0..8: three to the left of the middle, four below it.
    const image = written(4, draws(1, 8, 0))
    expect(image[at(1, 5, 10)]).toBeCloseTo(normal(1, pixelOf(1, 1, at(1, 9, 7))), 5)
    expect(image[at(1, 5, 2)]).toBeCloseTo(normal(1, 0), 5)
    expect(image[at(2, 28, 10)]).toBeCloseTo(normal(2, 0), 5)
    expect(image[at(2, 27, 3)]).toBeCloseTo(normal(2, pixelOf(1, 1, at(2, 31, 0))), 5)
  })

  it('mirrored after the crop', () => {
    const plain = written(7, draws(6, 2, 0)).slice()
    const mirrored = written(7, draws(6, 2, 1))
    for (let x = 0; x < side; x++) {
      expect(mirrored[at(0, 9, x)]).toBe(plain[at(0, 9, side - 1 - x)])
    }
  })
})

describe('synthetic data', () => {
  it('say so, hold every class equally and are the same each time', () => {
    const first = loadCifar10('synthetic')
    expect(first.synthetic).toBe(true)
    const counts = new Array(10).fill(0)
    for (const label of first.train.labels) counts[label]++
    expect(counts).toEqual(new Array(10).fill(first.train.labels.length / 10))
    expect(first.test.pixels.subarray(0, 6000)).not.toEqual(first.train.pixels.subarray(0, 6000))
    expect(Buffer.compare(loadCifar10('synthetic').test.pixels, first.test.pixels)).toBe(0)
  })
})
