// Text to a file of tokens, with any tokenizer: what data.tokenFile() reads and language models train on. Users call it
// once before they train.
import { writeAtomically } from '../checkpoint/atomic-write.js'
import { UsageError } from '../native/errors.js'

/** What turns text into tokens: an object of any tokenizer library, or one of your own. */
export interface Tokenizer {
  /** The tokens of a text: whole numbers from 0 on, in order. */
  encode(text: string): ArrayLike<number>
  /** What it was; for samples of a model. Nothing here calls it. */
  decode?(tokens: number[]): string
}

/** How data.writeTokens() writes. */
export interface WriteTokensOptions {
  /** How a token lies in the file. Default 'u16': tokens below 65,536. */
  type?: 'u16' | 'u32'
  /** A token that stands behind each text, such as the tokenizer's end of text. Default: none. */
  separator?: number
}

/**
 * Encodes texts one after the other and writes their tokens, little-endian and nothing else, to `path`: beside it first, then
 * renamed, so a reader sees the old file or the whole new one. One text is in memory at a time: cut long ones, at places
 * where the tokenizer does not mind. Resolves to the number of tokens.
 * @throws UsageError  a token that is no whole number or does not fit `type`, naming text and place; no token at all. The
 *   file is as it was then
 */
export async function writeTokens(
  path: string,
  texts: string | Iterable<string> | AsyncIterable<string>,
  tokenizer: Tokenizer,
  options: WriteTokensOptions = {},
): Promise<number> {
  const { type = 'u16', separator } = options
  if (type !== 'u16' && type !== 'u32') {
    throw new UsageError(`writeTokens: type must be 'u16' or 'u32', it is ${JSON.stringify(type)}`)
  }
  if (typeof tokenizer?.encode !== 'function') {
    throw new UsageError('writeTokens: the tokenizer has no encode(text)')
  }
  const pack = type === 'u16' ? Uint16Array : Uint32Array
  const limit = 2 ** (8 * pack.BYTES_PER_ELEMENT)
  let [tokens, text] = [0, 0]
  const packed = (list: ArrayLike<number>, what: string): Uint8Array => {
    const at = Array.from(list).findIndex((t) => !(Number.isInteger(t) && t >= 0 && t < limit))
    if (at >= 0) {
      throw new UsageError(
        `writeTokens: ${what} is ${list[at]} at place ${at}, which is no ${type}: a whole number from 0 to ${limit - 1}`,
        { text, place: at, token: list[at] },
      )
    }
    tokens += list.length
    return new Uint8Array(pack.from(list).buffer)
  }
  async function* pieces() {
    for await (const each of typeof texts === 'string' ? [texts] : texts) {
      yield packed(tokenizer.encode(each), `a token of text ${text}`)
      if (separator !== undefined) yield packed([separator], 'the separator')
      text++
    }
    if (tokens === 0) throw new UsageError('writeTokens: the texts have no token')
  }
  await writeAtomically(path, pieces())
  return tokens
}
