// Files of tokens: read by range, cut in sequences whose targets are the tokens after, shares of ranks disjoint, and
// what is wrong with a file is said.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type SequenceOptions, type TokenFile, tokenFile } from '../../dist/data/token-file.js'
import { UsageError } from '../../dist/native/errors.js'

const folder = mkdtempSync(join(tmpdir(), 'weft-tokens-'))
afterAll(() => rmSync(folder, { recursive: true }))

const write = (name: string, data: NodeJS.ArrayBufferView) => {
  const path = join(folder, name)
  writeFileSync(path, data)
  return path
}
const counted = (count: number) => Uint16Array.from({ length: count }, (_, i) => i)

async function rowsOf(file: TokenFile, options: SequenceOptions): Promise<number[][]> {
  const rows: number[][] = []
  for await (const { tokens, targets } of file.sequences(options)) {
    const [count, length] = tokens.shape
    for (let row = 0; row < count; row++) {
      const [from, to] = [row * length, (row + 1) * length]
      const [x, y] = [tokens.data.slice(from, to), targets.data.slice(from, to)]
      expect(Array.from(y)).toEqual(Array.from(x, (token) => token + 1))
      rows.push(Array.from(x))
    }
  }
  return rows
}

describe('a file', () => {
  test('has u16 or u32 tokens, read by range', async () => {
    const small = await tokenFile(write('small', counted(10)))
    expect([small.length, Array.from(await small.read(3, 4))]).toEqual([10, [3, 4, 5, 6]])
    const wide = await tokenFile(write('wide', Uint32Array.of(7, 100_000, 9)), { type: 'u32' })
    expect(Array.from(await wide.read(0, 3))).toEqual([7, 100_000, 9])
    await expect(small.read(8, 3)).rejects.toThrow(/tokens 0 to 9, not 8 to 10/)
    await Promise.all([small.close(), wide.close(), wide.close()])
  })

  test('that is not there, cut off, shrinking or of another vocabulary is refused by name', async () => {
    await expect(tokenFile(join(folder, 'none'))).rejects.toThrow(UsageError)
    await expect(tokenFile(write('odd', new Uint8Array(5)))).rejects.toThrow(/5 bytes/)
    await expect(tokenFile(write('empty', new Uint8Array(0)))).rejects.toThrow(/0 bytes/)
    await expect(tokenFile(write('x', counted(2)), { type: 'u8' as 'u16' })).rejects.toThrow(/u16/)
    const limited = await tokenFile(write('limited', counted(10)), { vocabulary: 8 })
    await expect(limited.read(6, 3)).rejects.toThrow(/token 8 is 8, the vocabulary has 8/)
    const path = write('shrinking', counted(10))
    const shrinking = await tokenFile(path)
    truncateSync(path, 4)
    await expect(shrinking.read(0, 10)).rejects.toThrow(/became shorter/)
    expect(() => limited.sequences({ length: 10, batchSize: 1 })).toThrow(/too few/)
    expect(() => limited.sequences({ length: 0, batchSize: 1 })).toThrow(UsageError)
    await Promise.all([limited.close(), shrinking.close()])
  })
})

describe('sequences', () => {
  test('held out: follow each other, every one once, over the ranks', async () => {
    const file = await tokenFile(write('held', counted(24)))
    const rows = await rowsOf(file, { length: 5, batchSize: 3, split: 'test' })
    expect(rows.map((row) => row[0])).toEqual([0, 5, 10, 15])
    const shares = await Promise.all(
      [0, 1].map((rank) =>
        rowsOf(file, { length: 5, batchSize: 3, split: 'test', rank, world: 2 }),
      ),
    )
    expect(
      shares
        .flat()
        .map((row) => row[0]!)
        .sort((a, b) => a - b),
    ).toEqual([0, 5, 10, 15])
    expect(await rowsOf(file, { length: 5, batchSize: 3, split: 'test', most: 2 })).toHaveLength(2)
    await file.close()
  })

  test('in training: another order and other cuts each epoch, as many in all, the same for a seed', async () => {
    const file = await tokenFile(write('train', counted(1001)))
    const epochs = await Promise.all(
      [0, 1, 2, 3].map((epoch) =>
        rowsOf(file, { length: 10, batchSize: 9, split: 'train', seed: 4, epoch }),
      ),
    )
    for (const rows of epochs) {
      expect(rows).toHaveLength(99)
      const starts = rows.map((row) => row[0]!)
      expect(starts).not.toEqual([...starts].sort((a, b) => a - b))
      expect(new Set(starts.map((start) => start % 10)).size).toBe(1)
      expect(new Set(starts).size).toBe(99)
    }
    expect(new Set(epochs.map((rows) => rows[0]![0]! % 10)).size).toBeGreaterThan(1)
    const again = await rowsOf(file, {
      length: 10,
      batchSize: 9,
      split: 'train',
      seed: 4,
      epoch: 2,
    })
    expect(again).toEqual(epochs[2])
    await file.close()
  })
})
