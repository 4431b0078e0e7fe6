// Figures of `weft bench scaling`: efficiencies, the peer's best mode of the same work, and lines that are none.
import { expect, test } from 'vitest'
import {
  parsePeer,
  type ScalingRow,
  scalingFigures,
  scalingLines,
} from '../../src/cli/bench/scaling-table.js'

const row = (rest: Partial<ScalingRow>): ScalingRow => ({
  ...{ work: 'vit', scaling: 'weak', devices: 1, mode: 'graph', batchSize: 64 },
  ...{ ms: 10, perSecond: 6400, equal: true },
  ...rest,
})
const rows = [
  row({}),
  row({ devices: 2, ms: 12.5 }),
  row({ devices: 2, scaling: 'strong', ms: 8, batchSize: 32 }),
]
const peer = parsePeer(
  [
    'NCCL version 2.28.9',
    '{"work":"vit","mode":"eager","gpus":1,"ms":20}',
    '{"work":"vit","mode":"compile","gpus":1,"ms":15}',
    '{"work":"vit","mode":"compile","gpus":2,"ms":30,"scaling":"weak"}',
    '{"work":"vit","mode":"eager","gpus":2,"ms":10,"scaling":"strong"}',
    '{"work":"vit","mode":"reduce-overhead","error":"out of memory"}',
  ].join('\n'),
)

test('weak scaling holds the time against one device, strong scaling against its share', () => {
  const [one, weak, strong] = scalingFigures(rows, [])
  expect(one!.efficiency).toBe(1)
  expect(weak!.efficiency).toBeCloseTo(0.8)
  expect(strong!.efficiency).toBeCloseTo(0.625)
})

test("the peer's fastest mode of the same work, number of devices and scaling stands beside", () => {
  const [one, weak, strong] = scalingFigures(rows, peer)
  expect(one!.peer).toEqual({ mode: 'compile', ms: 15, efficiency: 1 })
  expect(weak!.peer).toEqual({ mode: 'compile', ms: 30, efficiency: 0.5 })
  expect(strong!.peer).toEqual({ mode: 'eager', ms: 10, efficiency: 0.75 })
  expect(weak!.ratio).toBeCloseTo(12.5 / 30)
  expect(scalingLines([one!, weak!])[2]).toMatch(/ 0\.800 .* compile +30\.0000 +0\.500 +0\.417$/)
})

test('a precision stands beside the same one of the peer, TF32 beside its f32', () => {
  const lines = parsePeer(
    `{"work":"vit","mode":"eager","gpus":1,"ms":20,"precision":"f32"}
{"work":"vit","mode":"eager","gpus":1,"ms":5,"precision":"bf16"}`,
  )
  const peerMs = (precision?: string) =>
    scalingFigures([row(precision === undefined ? {} : { precision })], lines)[0]!.peer?.ms
  expect([peerMs('bf16'), peerMs('tf32'), peerMs('f16'), peerMs()]).toEqual([5, 20, undefined, 5])
})

test('a run that failed keeps its line, with the reason, and is compared with nothing', () => {
  const failed = row({ devices: 2, ms: 0, equal: false, error: 'the step cannot be captured' })
  const [, figures] = scalingFigures([rows[0]!, failed], peer)
  expect(figures).toEqual(failed)
  expect(scalingLines([figures!])[1]).toMatch(/graph +the step cannot be captured$/)
})

test('a line of the peer that cannot be read is named', () => {
  expect(() => parsePeer('\n{"work":"vit"')).toThrow(/--beside: line 2 is not JSON/)
  expect(() => parsePeer('{"work":"vit","mode":"eager","gpus":2}')).toThrow(/lacks work, mode/)
})
