// Choices of collectives: lines from figures, the file that keeps them, and what is refused of one.
import { expect, test } from 'vitest'
import { linesOf, mergeChoices, parseReduceChoices } from '../../src/fabric/reduce-choices.js'
import { CheckpointError } from '../../src/native/errors.js'

const machine = { weft: '0.1.0', driver: '', devices: ['x'], links: ['memory x0'] }
const entry = (ranks: number, first: string) => ({
  ...{ kind: 'allReduce' as const, ranks, dtype: 'f32' as const, inPlace: false },
  lines: [{ maxBytes: null, algorithms: [first, 'copy-ring'] }],
})

test('the fastest comes first, a border lies halfway by factors, the last line has no end', () => {
  const lines = linesOf([
    { bytes: 1024, us: { a: 1, b: 9 } },
    { bytes: 4096, us: { a: 2, b: 9 } },
    { bytes: 16384, us: { a: 9, b: 3 } },
  ])
  expect(lines).toEqual([
    { maxBytes: 8192, algorithms: ['a', 'b'] },
    { maxBytes: null, algorithms: ['b', 'a'] },
  ])
})

test('a difference that is noise moves no border', () => {
  const figures = [
    { bytes: 1024, us: { a: 100, b: 110 } },
    { bytes: 4096, us: { a: 100, b: 99 } },
  ]
  expect(linesOf(figures)).toEqual([{ maxBytes: null, algorithms: ['a', 'b'] }])
})

test('an algorithm without figures is in no line; sizes without any are passed by', () => {
  expect(linesOf([{ bytes: 8, us: {} }])).toEqual([])
  expect(linesOf([{ bytes: 8, us: { a: 1 } }])).toEqual([{ maxBytes: null, algorithms: ['a'] }])
})

test('what was measured again replaces its entry alone, and comes back from the file', () => {
  const choices = mergeChoices(machine, [entry(2, 'old'), entry(4, 'kept')], [entry(2, 'new')])
  expect(choices.entries.map(({ ranks, lines }) => [ranks, lines[0]?.algorithms[0]])).toEqual([
    [2, 'new'],
    [4, 'kept'],
  ])
  expect(parseReduceChoices(JSON.stringify(choices), 'f')).toEqual(choices)
})

test('kinds have entries of their own; an all-gather has one for every dtype', () => {
  const scatter = { ...entry(2, 'a'), kind: 'reduceScatter' as const }
  const gather = { ...entry(2, 'b'), kind: 'allGather' as const }
  const again = { ...entry(2, 'c'), kind: 'allGather' as const, dtype: 'bf16' as const }
  const choices = mergeChoices(machine, [gather, entry(2, 'd'), scatter], [again])
  expect(choices.entries.map(({ kind, lines }) => [kind, lines[0]?.algorithms[0]])).toEqual([
    ['allReduce', 'd'],
    ['reduceScatter', 'a'],
    ['allGather', 'c'],
  ])
})

test('an entry that names no kind is of an all-reduce', () => {
  const { kind, ...old } = entry(2, 'a')
  const text = JSON.stringify({ ...mergeChoices(machine, [], []), entries: [old] })
  expect(parseReduceChoices(text, 'f').entries).toEqual([{ kind, ...old }])
})

test.each([
  ['', /not JSON/],
  ['[]', /no format/],
  ['{"format":"weft-reduce-choices","version":9}', /reads version 1/],
  [JSON.stringify({ ...mergeChoices(machine, [], []), entries: 3 }), /no entries/],
  [JSON.stringify(mergeChoices(machine, [], [entry(1, 'a')])), /entry 1 is damaged/],
  [JSON.stringify(mergeChoices(machine, [], [entry(2, 'a,b')])), /entry 1 is damaged/],
  [
    JSON.stringify({
      ...mergeChoices(machine, [], []),
      entries: [{ ...entry(2, 'a'), kind: 'x' }],
    }),
    /entry 1 is damaged/,
  ],
])('%s is refused by name', (text, why) => {
  expect(() => parseReduceChoices(text, 'f.json')).toThrow(CheckpointError)
  expect(() => parseReduceChoices(text, 'f.json')).toThrow(why)
})
