// A vocabulary of word pieces: every character of a text, then its most frequent words with the space before
// them. A word outside it is written in the longest pieces that fit, so any text of these characters can be
// encoded and decoded again without loss. minigpt.ts uses it; no weights, no device.

/** A word with the space before it, or any one character. */
const units = / ?\p{L}+|[\s\S]/gu

export class WordPieces {
  readonly #id: ReadonlyMap<string, number>
  readonly #longest: number

  /** Pieces by id. Every character that is to be encoded must be among them. */
  constructor(readonly pieces: readonly string[]) {
    this.#id = new Map(pieces.map((piece, i) => [piece, i]))
    this.#longest = pieces.reduce((most, piece) => Math.max(most, piece.length), 1)
  }

  /** `size` pieces: the characters of `text`, then the words that are most frequent in it. */
  static learn(text: string, size: number): WordPieces {
    const characters = [...new Set(text)].sort()
    if (characters.length > size) {
      throw new RangeError(`the text has ${characters.length} characters, more than ${size} pieces`)
    }
    const counts = new Map<string, number>()
    for (const [word] of text.matchAll(units)) {
      if (word.length > 1) counts.set(word, (counts.get(word) ?? 0) + 1)
    }
    const known = new Set(characters)
    const words = [...counts]
      .sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
      .map(([word]) => word)
      .filter((word) => !known.has(word))
    return new WordPieces([...characters, ...words.slice(0, size - characters.length)])
  }

  encode(text: string): Uint16Array {
    const out: number[] = []
    for (const [unit] of text.matchAll(units)) {
      const whole = this.#id.get(unit)
      if (whole !== undefined) out.push(whole)
      else this.#spell(unit, out)
    }
    return Uint16Array.from(out)
  }

  decode(ids: Iterable<number>): string {
    return Array.from(ids, (id) => this.pieces[id] ?? '').join('')
  }

  #spell(unit: string, out: number[]): void {
    for (let at = 0; at < unit.length; ) {
      let length = Math.min(this.#longest, unit.length - at)
      while (length > 0 && !this.#id.has(unit.slice(at, at + length))) length--
      if (length === 0) throw new RangeError(`no piece for ${JSON.stringify(unit.slice(at))}`)
      out.push(this.#id.get(unit.slice(at, at + length)) as number)
      at += length
    }
  }
}
