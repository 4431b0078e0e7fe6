// The word pieces of the miniGPT example: nothing of a text is lost, frequent words are one token.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { WordPieces } from '../../examples/multigpu/word-pieces.js'

const text = 'the whale, the white whale and the ship; a whale!\nthe end\n'

describe('word pieces', () => {
  it('decode to the text that was encoded', () => {
    const characters = [...new Set(text)]
    const pieces = WordPieces.learn(text, characters.length + 6)
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...characters)), (drawn) => {
        const any = drawn.join('')
        expect(pieces.decode(pieces.encode(any))).toBe(any)
      }),
    )
  })

  it('hold all characters first, then the most frequent words with their space', () => {
    const characters = [...new Set(text)].sort()
    const pieces = WordPieces.learn(text, characters.length + 2)
    expect(pieces.pieces).toEqual([...characters, ' whale', ' the'])
    expect(pieces.encode(' whale the')).toHaveLength(2)
    expect(pieces.encode(' whales')).toHaveLength(2)
  })

  it('refuse characters that they do not know, and a size below the characters', () => {
    const pieces = WordPieces.learn('abc', 3)
    expect(() => pieces.encode('abx')).toThrow(/no piece for "x"/)
    expect(() => WordPieces.learn('abc', 2)).toThrow(/3 characters, more than 2/)
  })
})
