// Snapshots: what is written is what the tensors held, whatever changes them meanwhile, also without memory for
// copies; and a failure is told and leaves the writer usable.
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { full, memory, randn, releaseCached, safetensors, setDefaultDevice } from 'weft'
import { faults } from 'weft/testing'
import { OPTIMIZER, WEIGHTS } from '../../../dist/checkpoint/manifest.js'
import { SnapshotWriter } from '../../../dist/train/worker/snapshot.js'
import { device, hostOnly, ordinal } from '../device.js'

setDefaultDevice(device)
const writer = new SnapshotWriter(device)
afterAll(() => writer.close())

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-snapshot-'))
})
afterEach(() => {
  faults.clear()
  rmSync(folder, { recursive: true })
})

const elements = 1 << 20
const tensors = () => [1, 2, 3].map((value) => full([elements], value, { device }))

/** Takes a snapshot of three tensors, changes them at once, and compares the files with what they held. */
async function snapshot(before: () => void): Promise<void> {
  const [a, b, c] = tensors()
  const live = memory()[device]!.tensors
  before()
  const files = {
    [WEIGHTS]: [
      { name: 'a', tensor: a! },
      { name: 'b', tensor: b! },
    ],
    [OPTIMIZER]: [{ name: 'c', tensor: c! }],
  }
  expect(await writer.begin({ folder, metadata: { step: '5' }, mayWait: true }, files)).toBe(true)
  for (const tensor of [a!, b!, c!]) tensor.fill_(-1)
  await writer.idle()
  faults.clear()
  const end = writer.takeEnd()!
  expect(end.failed).toBeUndefined()
  expect(writer.takeEnd()).toBeUndefined()
  for (const [name, digest] of Object.entries(end.files!)) {
    const bytes = readFileSync(join(folder, name))
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    expect(digest).toEqual({ bytes: bytes.byteLength, sha256 })
  }
  const weights = await safetensors.load(join(folder, WEIGHTS))
  const optimizer = await safetensors.load(join(folder, OPTIMIZER))
  const means = [weights['a'], weights['b'], optimizer['c']].map((tensor) => tensor!.mean().item())
  expect(await Promise.all(means)).toEqual([1, 2, 3])
  expect((await safetensors.header(join(folder, WEIGHTS))).metadata).toEqual({ step: '5' })
  for (const tensor of Object.values({ ...weights, ...optimizer })) tensor.dispose()
  expect(memory()[device]!.tensors).toBeLessThanOrEqual(live + 3) // the means
  for (const tensor of [a!, b!, c!]) tensor.dispose()
}

test('holds what the tensors held, however soon they change', async () => {
  await snapshot(() => {})
})

test('holds every element of tensors that are read in parts, whatever their sizes', async () => {
  const wide = randn([1031, 2053], { device })
  const low = randn([3, 1_400_003], { device }).to('bf16')
  const turned = randn([1500, 1301], { device }).transpose(0, 1)
  const list = [wide, full([5], 7, { device }), low, turned]
  const files = {
    [WEIGHTS]: list.map((tensor, i) => ({ name: `${i}`, tensor })),
    [OPTIMIZER]: [{ name: 'late', tensor: wide }],
  }
  const held = await Promise.all(list.map((tensor) => tensor.bytes()))
  expect(await writer.begin({ folder, metadata: {}, mayWait: true }, files)).toBe(true)
  for (const tensor of [wide, low, turned]) tensor.fill_(0)
  await writer.idle()
  expect(writer.takeEnd()!.failed).toBeUndefined()
  const weights = await safetensors.load(join(folder, WEIGHTS))
  const optimizer = await safetensors.load(join(folder, OPTIMIZER))
  for (const [i, bytes] of held.entries()) {
    const found = await weights[`${i}`]!.bytes()
    expect(Buffer.compare(Buffer.from(found), Buffer.from(bytes))).toBe(0)
  }
  const late = await optimizer['late']!.bytes()
  expect(Buffer.compare(Buffer.from(late), Buffer.from(held[0]!))).toBe(0)
  for (const each of [...list, ...Object.values({ ...weights, ...optimizer })]) each.dispose()
})

hostOnly('fails allocations of the host driver')(
  'and where the device has no memory for copies',
  async () => {
    await snapshot(() => {
      releaseCached(device)
      faults.failAllocations(ordinal, 1_000)
    })
  },
)

hostOnly('fails allocations of the host driver')(
  'without memory for copies, one that may not wait is not begun',
  async () => {
    const all = tensors()
    releaseCached(device)
    faults.failAllocations(ordinal, 1_000)
    const files = {
      [WEIGHTS]: all.map((tensor, i) => ({ name: String(i), tensor })),
      [OPTIMIZER]: [],
    }
    const request = { folder: join(folder, 'none'), metadata: {}, mayWait: false }
    expect(await writer.begin(request, files)).toBe(false)
    faults.clear()
    expect(writer.takeEnd()).toBeUndefined()
    expect(existsSync(join(folder, 'none'))).toBe(false)
    for (const tensor of all) tensor.dispose()
  },
)

test('that cannot be written says why, and the next one is', async () => {
  const [a] = tensors()
  const files = { [WEIGHTS]: [{ name: 'a', tensor: a! }], [OPTIMIZER]: [] }
  writeFileSync(join(folder, 'file'), '')
  const rest = { metadata: {}, mayWait: true }
  await writer.begin({ folder: join(folder, 'file', 'none'), ...rest }, files)
  await writer.idle()
  expect(writer.takeEnd()).toMatchObject({ failed: expect.stringMatching(/ENOTDIR/) })
  await writer.begin({ folder: join(folder, 'there'), ...rest }, files)
  await writer.idle()
  expect(writer.takeEnd()!.failed).toBeUndefined()
  a!.dispose()
})
