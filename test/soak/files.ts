// The fuzz of safetensors files and of checkpoints: whatever was changed, a reader gives a CheckpointError or what
// the file says; of a checkpoint, an error or what was saved. Nothing else may be thrown, and nothing may take long.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import {
  type Checkpoint,
  checkpointName,
  openCheckpoint,
} from '../../src/checkpoint/checkpoint-folder.js'
import { MANIFEST, OPTIMIZER, parseManifest, WEIGHTS } from '../../src/checkpoint/manifest.js'
import {
  parseSafetensors,
  type SafetensorsEntry,
  safetensorsPieces,
} from '../../src/checkpoint/safetensors.js'
import { SafetensorsReader } from '../../src/checkpoint/safetensors-file.js'
import { CheckpointError } from '../../src/native/errors.js'
import { bytesPerElement, dtypeNames } from '../../src/tensor/dtype.js'
import { randomStream } from '../fuzz/program.js'
import { writeCheckpoint } from './checkpoint-sample.js'
import { type Draw, damageBytes, damageJson } from './mutations.js'

/** A reader that takes longer hangs. */
const MOST_MS = 2_000

interface Tally {
  refused: number
  loaded: number
  same: number
}

/** Throws what a reader may not do; counts what it did. */
function outcome<T>(tally: Tally, read: () => T): T | undefined {
  const started = performance.now()
  const result = refusedOr(tally, read)
  const ms = performance.now() - started
  if (ms > MOST_MS) throw new Error(`it took ${ms.toFixed(0)} ms`)
  return result
}

function refusedOr<T>(tally: Tally, read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error
    tally.refused++
    return undefined
  }
}

function sampleFile(draw: Draw): Uint8Array {
  const tensors: Record<string, SafetensorsEntry> = {}
  for (let n = draw(4); n >= 0; n--) {
    const dtype = dtypeNames[draw(dtypeNames.length)]!
    const shape = Array.from({ length: draw(4) }, () => draw(4))
    const length = shape.reduce((count, size) => count * size, bytesPerElement(dtype))
    tensors[['w', 'a.b', 'layer.0.weight', '0'][n]!] = {
      dtype,
      shape,
      bytes: Uint8Array.from({ length }, () => draw(256)),
    }
  }
  return Buffer.concat(safetensorsPieces(tensors, draw(2) === 0 ? {} : { format: 'weft' }))
}

/** Bytes, or the header's JSON, or its length changed; `twice`: a name stands twice in it. */
function damageFile(original: Uint8Array, draw: Draw): { file: Uint8Array; twice: boolean } {
  if (draw(3) === 0) return { file: damageBytes(original, draw), twice: false }
  const buffer = Buffer.from(original)
  const length = Number(buffer.readBigUInt64LE())
  if (draw(8) === 0) {
    buffer.writeBigUInt64LE(BigInt(length + [1, -1, 8, -8, 2 ** 40, 2 ** 52][draw(6)]!))
    return { file: buffer, twice: false }
  }
  const json = JSON.parse(buffer.subarray(8, 8 + length).toString()) as object
  const twice = draw(8) === 0
  const text = twice ? doubled(json, draw) : (JSON.stringify(damageJson(json, draw)) ?? 'null')
  const head = Buffer.alloc(8)
  head.writeBigUInt64LE(BigInt(Buffer.byteLength(text)))
  return { file: Buffer.concat([head, Buffer.from(text), buffer.subarray(8 + length)]), twice }
}

/** A header with one of its names twice, the second time with the value that is right. */
function doubled(header: object, draw: Draw): string {
  const names = Object.keys(header)
  const name = JSON.stringify(names[draw(names.length)])
  return JSON.stringify(header).replace(
    '{',
    `{${name}:{"dtype":"U8","shape":[0],"data_offsets":[0,0]},`,
  )
}

const widths: Record<string, number> = {
  F32: 4,
  F64: 8,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  U8: 1,
  BOOL: 1,
}

/** What a file says, read again without the reader under test: its tensors lie side by side and are these. */
function requireSound(file: Uint8Array, tensors: Record<string, SafetensorsEntry>): void {
  const buffer = Buffer.from(file)
  const data = 8 + Number(buffer.readBigUInt64LE())
  const header = JSON.parse(buffer.subarray(8, data).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const names = Object.keys(header).filter((name) => name !== '__metadata__')
  if (!isDeepStrictEqual(names.sort(), Object.keys(tensors).sort())) throw new Error('other names')
  const owners = new Uint8Array(buffer.byteLength - data)
  for (const name of names) {
    const { dtype, shape, data_offsets: at } = header[name]!
    const loaded = tensors[name]!
    if (!isDeepStrictEqual([...loaded.shape], shape)) throw new Error(`${name}: another shape`)
    const elements = shape.reduce((count, size) => count * size, 1)
    if (loaded.bytes.byteLength !== elements * widths[dtype]!)
      throw new Error(`${name}: another size`)
    if (!buffer.subarray(data + at[0], data + at[1]).equals(loaded.bytes))
      throw new Error(`${name}: other bytes`)
    for (let byte = at[0]; byte < at[1]; byte++) owners[byte]!++
  }
  if (owners.some((count) => count !== 1)) throw new Error('bytes of no tensor, or of two')
}

async function readByRange(path: string): Promise<Record<string, SafetensorsEntry>> {
  const reader = await SafetensorsReader.open(path)
  try {
    const tensors: [string, SafetensorsEntry][] = []
    for (const name of reader.header.tensors.keys()) tensors.push([name, await reader.read(name)])
    return Object.fromEntries(tensors)
  } finally {
    await reader.close()
  }
}

/** One file in memory; every 50th on disk too, where both readers must agree. */
async function checkFile(draw: Draw, folder: string, onDisk: boolean, tally: Tally): Promise<void> {
  const original = sampleFile(draw)
  const { file, twice } = damageFile(original, draw)
  const read = outcome(tally, () => parseSafetensors(file))
  if (read !== undefined) {
    if (twice) throw new Error('a name stands twice')
    requireSound(file, read.tensors)
    tally.loaded++
  }
  if (!onDisk) return
  const path = join(folder, 'file.safetensors')
  writeFileSync(path, file)
  const ranges = await readByRange(path).catch((error: unknown) => {
    if (error instanceof CheckpointError) return undefined
    throw error
  })
  const plain = (tensors: Record<string, SafetensorsEntry> | undefined) =>
    tensors &&
    Object.entries(tensors).map(([name, { dtype, shape, bytes }]) => [
      name,
      dtype,
      shape,
      Buffer.from(bytes),
    ])
  if (!isDeepStrictEqual(plain(ranges), plain(read?.tensors)))
    throw new Error('the two readers disagree')
}

/** A manifest: an error, or the very same. */
async function checkManifest(
  draw: Draw,
  { path, manifest }: Checkpoint,
  onDisk: boolean,
  tally: Tally,
): Promise<void> {
  const original = readFileSync(join(path, MANIFEST))
  const json = JSON.parse(original.toString()) as unknown
  const damaged =
    draw(2) === 0
      ? damageBytes(original, draw)
      : Buffer.from(JSON.stringify(damageJson(json, draw)) ?? 'null')
  const read = outcome(tally, () => parseManifest(damaged, 'it'))
  if (read !== undefined) {
    if (!isDeepStrictEqual(read, manifest)) throw new Error('another manifest')
    tally.same++
  }
  if (onDisk) await checkFolder(path, draw, manifest, tally)
}

/** A whole checkpoint with one of its files changed. */
async function checkFolder(
  path: string,
  draw: Draw,
  manifest: unknown,
  tally: Tally,
): Promise<void> {
  const file = join(path, [MANIFEST, WEIGHTS, OPTIMIZER][draw(3)]!)
  const before = readFileSync(file)
  const tensors = await Promise.all(
    [WEIGHTS, OPTIMIZER].map((name) => readByRange(join(path, name))),
  )
  if (draw(12) === 0) rmSync(file)
  else writeFileSync(file, damageBytes(before, draw))
  try {
    const read = await openCheckpoint(path)
    const now = await Promise.all([WEIGHTS, OPTIMIZER].map((name) => readByRange(join(path, name))))
    if (!isDeepStrictEqual([read.manifest, now], [manifest, tensors]))
      throw new Error('another checkpoint')
    tally.same++
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error
    tally.refused++
  } finally {
    writeFileSync(file, before)
  }
}

/** Damages `count` files; the number of failures. */
export async function soakFiles({
  count,
  seed: first,
  print,
}: {
  count: number
  seed: number
  print: (line: string) => void
}): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-soak-'))
  const checkpoints: Checkpoint[] = []
  for (const step of [1, 20, 300]) {
    const manifest = await writeCheckpoint(folder, step)
    checkpoints.push({ path: join(folder, checkpointName(step)), manifest })
  }
  const tally: Tally = { refused: 0, loaded: 0, same: 0 }
  const started = performance.now()
  let failed = 0
  for (let seed = first; seed < first + count && failed < 10; seed++) {
    const draw = randomStream(seed)
    const onDisk = seed % 50 === 0
    try {
      if (seed % 5 === 0) await checkManifest(draw, checkpoints[draw(3)]!, onDisk, tally)
      else await checkFile(draw, folder, onDisk || seed % 50 === 1, tally)
    } catch (error) {
      failed++
      print(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }
  rmSync(folder, { recursive: true })
  const seconds = Number(((performance.now() - started) / 1000).toFixed(1))
  print(JSON.stringify({ soak: 'files', count, seed: first, ...tally, failed, seconds }))
  return failed
}
