// data.writeTokens(): texts through any tokenizer into a file that data.tokenFile() reads back, or an error that names the
// token, and the old file.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as gpt2 from 'gpt-tokenizer/encoding/r50k_base'
import { afterAll, expect, test } from 'vitest'
import { tokenFile } from '../../dist/data/token-file.js'
import { writeTokens } from '../../dist/data/write-tokens.js'
import { UsageError } from '../../dist/native/errors.js'

const folder = mkdtempSync(join(tmpdir(), 'weft-write-tokens-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'tokens.bin')

const bytes = {
  encode: (text: string) => new TextEncoder().encode(text),
  decode: (tokens: number[]) => new TextDecoder().decode(Uint8Array.from(tokens)),
}

async function read(options: Parameters<typeof tokenFile>[1] = {}): Promise<number[]> {
  const file = await tokenFile(path, options)
  const tokens = await file.read(0, file.length)
  await file.close()
  return Array.from(tokens)
}

test('a byte tokenizer: texts one after the other, with what separates them', async () => {
  const text = 'Ein Weber wëbt. 🧵\n'
  expect(await writeTokens(path, text, bytes)).toBe(Buffer.byteLength(text))
  expect(bytes.decode(await read({ vocabulary: 256 }))).toBe(text)
  expect(await writeTokens(path, ['ab', '', 'c'], bytes, { separator: 256 })).toBe(6)
  expect(await read()).toEqual([97, 98, 256, 256, 99, 256])
})

test("GPT-2's tokens by gpt-tokenizer, from a stream, in both widths", async () => {
  const texts = ['Hello world. Some years ago', '—never mind how long precisely—']
  async function* stream() {
    yield* texts
  }
  for (const type of ['u16', 'u32'] as const) {
    const count = await writeTokens(path, stream(), gpt2, { type, separator: 50_256 })
    const tokens = await read({ type, vocabulary: 50_257 })
    expect(tokens).toHaveLength(count)
    expect(readFileSync(path)).toHaveLength(count * (type === 'u16' ? 2 : 4))
    const end = tokens.indexOf(50_256)
    expect(gpt2.decode(tokens.slice(0, end))).toBe(texts[0])
    expect(gpt2.decode(tokens.slice(end + 1, -1))).toBe(texts[1])
    expect(tokens.slice(0, 3)).toEqual([15496, 995, 13]) // as OpenAI's own has it
  }
})

test('what is no token is named, and the file stays as it was', async () => {
  await writeTokens(path, 'as before', bytes)
  const giving = (...tokens: number[]) => ({ encode: () => tokens })
  const failing = [
    [
      () => writeTokens(path, ['a', 'b'], giving(1, 65_536)),
      /a token of text 0 is 65536 at place 1/,
    ],
    [() => writeTokens(path, 'a', giving(-1), { type: 'u32' }), /from 0 to 4294967295/],
    [() => writeTokens(path, 'a', giving(Number.NaN)), /is NaN/],
    [() => writeTokens(path, 'a', giving(1), { separator: 1.5 }), /the separator is 1.5/],
    [() => writeTokens(path, [], bytes), /the texts have no token/],
    [() => writeTokens(path, 'a', {} as typeof bytes), /no encode\(text\)/],
    [() => writeTokens(path, 'a', bytes, { type: 'u8' as 'u16' }), /'u16' or 'u32', it is "u8"/],
  ] as const
  for (const [call, message] of failing) {
    await expect(call()).rejects.toThrow(UsageError)
    await expect(call()).rejects.toThrow(message)
  }
  expect(bytes.decode(await read())).toBe('as before')
  expect(readdirSync(folder)).toEqual(['tokens.bin'])
})
