// operators.def as the generator reads it, and what it makes of one row.
import { describe, expect, test } from 'vitest'
import { functionsFile, methodsFile } from '../../scripts/tables/operator-declarations.mjs'
import { operatorRows } from '../../scripts/tables/operator-table.mjs'

const one = (text: string) => operatorRows(text)[0]!
const flat = (text: string) => text.replace(/\s+/g, ' ')

describe('a row', () => {
  test('without signature is only an id', () => {
    const row = one('WEFT_OP(full, "full(int[] shape, float value) -> 1")')
    expect(row.args).toEqual([
      { type: 'int[]', name: 'shape' },
      { type: 'float', name: 'value' },
    ])
    expect(row.functionName).toBeUndefined()
    expect(row.methodName).toBeUndefined()
  })

  test('over several lines, its strings joined; knows its section', () => {
    const row = one(
      '// Views\nWEFT_OP(split, "split(Tensor a, int dim, "\n "int size) -> *",\n "split(size, dim = 0)",\n "Pieces" " of a.")',
    )
    expect(row.section).toBe('Views')
    expect(row.schema).toBe('split(Tensor a, int dim, int size) -> *')
    expect(row.doc).toBe('Pieces of a.')
    expect([row.functionName, row.methodName]).toEqual(['split', 'split'])
    expect(row.parameters.map((each) => [each.name, each.initial])).toEqual([
      ['size', undefined],
      ['dim', '0'],
    ])
  })

  test('names a function, a method or both', () => {
    const names = (signature: string) => {
      const row = one(`WEFT_OP(f, "f(Tensor a) -> 1", "${signature}", "Doc.")`)
      return [row.functionName, row.methodName]
    }
    expect(names('f()')).toEqual(['f', 'f'])
    expect(names('F.f()')).toEqual(['f', undefined])
    expect(names('.f()')).toEqual([undefined, 'f'])
    expect(names('F.long .f()')).toEqual(['long', 'f'])
  })

  test('whose signature and schema differ is refused by name', () => {
    const row = 'WEFT_OP(f, "f(Tensor a, int dim) -> 1", "f(axis)", "Doc.")'
    expect(() => operatorRows(row)).toThrow(/f: the signature has axis, the schema has dim/)
  })
})

describe('its TypeScript', () => {
  const rows = operatorRows(`
WEFT_OP(f, "f(Tensor x, int kind, float beta) -> 1",
        "f({ kind: 'a' | 'b' = 'a', beta = x.size(0) })", "Doc.")`)

  test('a function with options: computed values come before the words', () => {
    const text = flat(functionsFile(rows))
    expect(text).toContain(
      "export function f(x: Tensor, options: { kind?: 'a' | 'b'; beta?: number } = {}): Tensor",
    )
    expect(text).toContain("choice('f', 'kind', options.kind ?? 'a', ['a', 'b'])")
    expect(text).toContain(
      'const beta = options.beta ?? x.size(0) return callNumbers(Op.f, x, kind, beta)',
    )
  })

  test('a method that hands on to it', () => {
    const text = flat(methodsFile(rows))
    expect(text).toContain("f(this: Tensor, options?: { kind?: 'a' | 'b'; beta?: number }): Tensor")
    expect(text).toContain('return functions.f(this, options)')
  })
})
