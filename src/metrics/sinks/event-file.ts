// TensorBoard's event files: records of a length, bytes and masked CRC-32C sums, each an Event message with scalars.
// tensorboard.ts makes them of a run's events. Each record is one write, so a killed process leaves whole ones but
// for the last at most, which TensorBoard waits for or leaves out.
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  return value
})

/** CRC-32C (Castagnoli). */
export function crc32c(bytes: Uint8Array): number {
  let sum = 0xffffffff
  for (const byte of bytes) sum = table[(sum ^ byte) & 0xff]! ^ (sum >>> 8)
  return (sum ^ 0xffffffff) >>> 0
}

/** As records hold it: rotated and offset, because records may hold sums themselves. */
function maskedSum(bytes: Uint8Array): number {
  const sum = crc32c(bytes)
  return (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0
}

function record(data: Uint8Array): Buffer {
  const framed = Buffer.alloc(data.byteLength + 16)
  framed.writeBigUInt64LE(BigInt(data.byteLength))
  framed.writeUInt32LE(maskedSum(framed.subarray(0, 8)), 8)
  framed.set(data, 12)
  framed.writeUInt32LE(maskedSum(data), data.byteLength + 12)
  return framed
}

/** A whole number below 2^53, seven bits a byte. */
function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  while (rest >= 128) {
    bytes.push((rest % 128) | 128)
    rest = Math.floor(rest / 128)
  }
  return Buffer.from([...bytes, rest])
}

// Fields of a message: its number and wire type (0 varint, 1 eight bytes, 2 with a length, 5 four bytes), then its value.
const wholeField = (field: number, value: number) =>
  Buffer.concat([varint(field * 8), varint(value)])
const bytesField = (field: number, value: Uint8Array) =>
  Buffer.concat([varint(field * 8 + 2), varint(value.byteLength), value])
const textField = (field: number, text: string) => bytesField(field, Buffer.from(text))

function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return Buffer.concat([varint(field * 8 + 1), bytes])
}

function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return Buffer.concat([varint(field * 8 + 5), bytes])
}

/** Fields of Event: wall_time 1, step 2, file_version 3, summary 5, session_log 7. */
const event = (step: number, content: Buffer) =>
  Buffer.concat([doubleField(1, Date.now() / 1000), wholeField(2, step), content])

/** Opens a file that was not there; several runs of a process may begin within a second. */
function openNew(folder: string): { path: string; descriptor: number } {
  const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, '0')
  for (let count = 0; ; count++) {
    const name = `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${count}`
    const path = join(folder, name)
    try {
      return { path, descriptor: openSync(path, 'wx') }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

/** One event file, open until it is closed. */
export class EventFile {
  readonly path: string
  #descriptor: number | undefined

  /** Makes the file in `folder`, which is made where it is missing. */
  constructor(folder: string) {
    mkdirSync(folder, { recursive: true })
    const { path, descriptor } = openNew(folder)
    this.path = path
    this.#descriptor = descriptor
    this.#append(event(0, textField(3, 'brain.Event:2')))
  }

  /** Tells readers that what others hold of `step` and later steps is void. */
  restart(step: number): void {
    const started = 1
    this.#append(event(step, bytesField(7, wholeField(1, started))))
  }

  /** Adds values at a step, each under its tag. */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    // Of Summary: value 1; of its Value: tag 1, simple_value 2.
    const summary = Object.entries(values).map(([tag, value]) =>
      bytesField(1, Buffer.concat([textField(1, tag), floatField(2, value)])),
    )
    this.#append(event(step, bytesField(5, Buffer.concat(summary))))
  }

  /** Closes the file; may be called again. */
  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }

  #append(data: Uint8Array): void {
    if (this.#descriptor === undefined) return
    const bytes = record(data)
    let offset = 0
    while (offset < bytes.byteLength) offset += writeSync(this.#descriptor, bytes, offset)
  }
}
