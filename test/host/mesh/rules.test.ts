// Every rule against the single-device program, values and gradients, over meshes of 1x2, 2x2 and 4, with
// sizes that do not divide; and where the result lies.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Fabric,
  type Mesh,
  openFabric,
  type Placement,
  type Placements,
  partial,
  replicated,
  sharded,
} from 'weft'
import { several } from '../device.js'
import { compare, type Either, type Functions, type Operand } from './reference.js'

type LinearCrossEntropyOptions = NonNullable<Parameters<Functions['linearCrossEntropy']>[3]>

let fabric: Fabric
const meshes: Record<string, Mesh> = {}
beforeAll(async () => {
  fabric = await openFabric(several(4))
  const names = fabric.devices.map(({ name }) => name)
  meshes['1x2'] = fabric.mesh({ a: 1, b: 2 }, names.slice(0, 2))
  meshes['2x2'] = fabric.mesh({ a: 2, b: 2 })
  meshes['4'] = fabric.mesh({ b: 4 })
})
afterAll(() => {
  for (const mesh of Object.values(meshes)) mesh.dispose()
})

const kinds = ['1x2', '2x2', '4'] as const
/** Placements along axis b, and a where the mesh has it and it is given. */
const on = (mesh: Mesh, b: Placement, a?: Placement): Placements =>
  a !== undefined && mesh.axes.includes('a') ? { a, b } : { b }

describe.each(kinds)('over a mesh of %s', (kind) => {
  const mesh = () => meshes[kind] as Mesh

  test('elementwise: placed alike, broadcast, terms', async () => {
    const m = mesh()
    const x: Operand = { shape: [5, 6], placements: on(m, sharded(0), sharded(1)) }
    expect((await compare(m, [x], ([a]) => a!.tanh().mul(3).exp())).b).toEqual(sharded(0))
    await compare(m, [x, x], ([a, b]) => a!.mul(b!).sub(b!).add(a!.relu()).div(b!.exp()))
    await compare(m, [x, { shape: [6], placements: on(m, replicated(), sharded(0)) }], ([a, b]) =>
      a!.add(b!),
    )
    await compare(m, [x, { shape: [5, 1], placements: on(m, sharded(0)) }], ([a, b]) => b!.mul(a!))
    const p: Operand = { shape: [3, 5], placements: on(m, partial(), sharded(1)) }
    const r: Operand = { shape: [3, 5], placements: on(m, replicated(), sharded(1)) }
    expect((await compare(m, [p, p], ([a, b]) => a!.add(b!).neg().mul(2))).b).toEqual(partial())
    expect((await compare(m, [p, r], ([a, b]) => a!.mul(b!).div(b!.exp()))).b).toEqual(partial())
  })

  test('reductions: over a cut dimension, beside it, of terms', async () => {
    const m = mesh()
    const x: Operand = { shape: [5, 3, 6], placements: on(m, sharded(2), sharded(0)) }
    expect((await compare(m, [x], ([a]) => a!.sum(2))).b).toEqual(partial())
    expect((await compare(m, [x], ([a]) => a!.mean([1, 2], { keepDim: true }))).b).toEqual(
      partial(),
    )
    expect((await compare(m, [x], ([a]) => a!.mean(1))).b).toEqual(sharded(1))
    expect((await compare(m, [x], ([a]) => a!.max(1, { keepDim: true }))).b).toEqual(sharded(2))
    expect((await compare(m, [x], ([a]) => a!.mean())).b).toEqual(partial())
    for (const op of ['max', 'min'] as const) {
      expect((await compare(m, [x], ([a]) => a![op](2))).b).toEqual(partial(op))
      expect((await compare(m, [x], ([a]) => a![op]([0, 2])[op]())).b).toEqual(partial(op))
      const both = await compare(m, [x, x], ([a, b]) =>
        op === 'max' ? a!.max(2).maximum(b!.max(2)) : a!.min(2).minimum(b!.min(2)),
      )
      expect(both.b).toEqual(partial(op))
    }
    await compare(m, [{ shape: [4, 3], placements: on(m, partial()) }], ([a]) => a!.mean(0))
    await compare(m, [{ shape: [4, 3], placements: on(m, sharded(0)) }], ([a]) => a!.variance(1))
  })

  test('matmul: rows, columns, inner, batches, terms', async () => {
    const m = mesh()
    const a = (placement: Placement): Operand => ({ shape: [5, 6], placements: on(m, placement) })
    const b = (placement: Placement): Operand => ({ shape: [6, 7], placements: on(m, placement) })
    const multiply = (p: Placement, q: Placement) =>
      compare(m, [a(p), b(q)], ([x, y]) => x!.matmul(y!))
    expect((await multiply(sharded(0), replicated())).b).toEqual(sharded(0))
    expect((await multiply(replicated(), sharded(1))).b).toEqual(sharded(1))
    expect((await multiply(sharded(1), sharded(0))).b).toEqual(partial())
    expect((await multiply(partial(), replicated())).b).toEqual(partial())
    expect((await multiply(replicated(), partial())).b).toEqual(partial())
    const batch: Operand = { shape: [3, 5, 6], placements: on(m, sharded(0), sharded(1)) }
    const other: Operand = { shape: [3, 6, 2], placements: on(m, sharded(0)) }
    expect((await compare(m, [batch, other], ([x, y]) => x!.matmul(y!))).b).toEqual(sharded(0))
  })

  test('linear: column parallel, row parallel, cut rows', async () => {
    const m = mesh()
    const weight = { shape: [7, 6] }
    const x: Operand = { shape: [2, 5, 6], placements: on(m, replicated(), sharded(0)) }
    const column = [
      x,
      { ...weight, placements: on(m, sharded(0)) },
      { shape: [7], placements: on(m, sharded(0)) },
    ]
    expect((await compare(m, column, ([a, w, b], F) => F.linear(a!, w!, b))).b).toEqual(sharded(2))
    const row = [
      { ...x, placements: on(m, sharded(2), sharded(0)) },
      { ...weight, placements: on(m, sharded(1)) },
    ]
    expect((await compare(m, row, ([a, w], F) => F.linear(a!, w!))).b).toEqual(partial())
    const rows = [{ ...x, placements: on(m, sharded(1), sharded(0)) }, weight, { shape: [7] }]
    expect((await compare(m, rows, ([a, w, b], F) => F.linear(a!, w!, b))).b).toEqual(sharded(1))
  })

  test('softmax and norms: rows whole', async () => {
    const m = mesh()
    const x: Operand = { shape: [5, 3, 6], placements: on(m, sharded(0), sharded(1)) }
    const weights = [{ shape: [6] }, { shape: [6] }]
    await compare(m, [x], ([a]) => a!.softmax().add(a!.logSoftmax(-1)))
    const norm = await compare(m, [x, ...weights], ([a, w, b], F) => F.layerNorm(a!, w, b))
    expect(norm.b).toEqual(sharded(0))
    await compare(m, [x, weights[0]!], ([a, w], F) => F.rmsNorm(a!, w))
    await compare(m, [x, weights[0]!], ([a, b], F) => F.layerNorm(a!, null, b))
  })

  test('norms of sums: placed as add and the norm', async () => {
    const m = mesh()
    const x: Operand = { shape: [5, 3, 6], placements: on(m, sharded(0), sharded(1)) }
    const weights = [{ shape: [6] }, { shape: [6] }]
    const both = ([sum, norm]: [Either, Either]) => sum.mul(0.5).add(norm)
    const norm = await compare(m, [x, x, ...weights], ([a, r, w, b], F) =>
      both(F.addLayerNorm(a!, r!, w, b)),
    )
    expect(norm.b).toEqual(sharded(0))
    await compare(m, [x, x, weights[0]!], ([a, r, w], F) => both(F.addRmsNorm(a!, r!, w)))
  })

  test('cross entropy: whole, and rows cut', async () => {
    const m = mesh()
    const logits = { shape: [5, 6] }
    const target = { shape: [5], below: 6 }
    await compare(m, [logits, target], ([x, y], F) => F.crossEntropy(x!, y!))
    const cut = [
      { ...logits, placements: on(m, sharded(0)) },
      { ...target, placements: on(m, sharded(0)) },
    ]
    const sum = await compare(m, cut, ([x, y], F) => F.crossEntropy(x!, y!, { reduction: 'sum' }))
    expect(sum.b).toEqual(partial())
    await compare(m, cut, ([x, y], F) => F.crossEntropy(x!, y!, { reduction: 'none' }))
    // Five rows are uneven parts, and those of class 1 do not count.
    for (const options of [{}, { ignoreIndex: 1 }, { ignoreIndex: 1, labelSmoothing: 0.2 }]) {
      const mean = await compare(m, cut, ([x, y], F) => F.crossEntropy(x!, y!, options))
      expect(mean.b).toEqual(partial())
    }
  })

  test('linear with cross entropy: whole, and rows cut', async () => {
    const m = mesh()
    const x: Operand = { shape: [5, 4] }
    const others: Operand[] = [{ shape: [6, 4] }, { shape: [5], below: 6 }, { shape: [6] }]
    const loss = (options: LinearCrossEntropyOptions) => (t: Either[], F: Functions) =>
      F.linearCrossEntropy(t[0]!, t[1]!, t[2]!, { ...options, bias: t[3]! })
    await compare(m, [x, ...others], loss({}))
    const placed = (o: Operand): Operand => ({ ...o, placements: on(m, sharded(0)) })
    const cut = [placed(x), others[0]!, placed(others[1]!), others[2]!]
    expect((await compare(m, cut, loss({ reduction: 'sum' }))).b).toEqual(partial())
    expect((await compare(m, cut, loss({ reduction: 'none' }))).b).toEqual(sharded(0))
    // Five rows are uneven parts, and those of class 1 do not count.
    for (const options of [{}, { ignoreIndex: 1 }, { ignoreIndex: 1, chunkRows: 1 }]) {
      expect((await compare(m, cut, loss(options))).b).toEqual(partial())
    }
  })

  test('embedding: table whole, cut over its width, cut over the vocabulary', async () => {
    const m = mesh()
    const indices = { shape: [4, 3], below: 7 }
    const look = (table: Placement, at: Placement) =>
      compare(
        m,
        [
          { shape: [7, 6], placements: on(m, table) },
          {
            ...indices,
            placements: on(m, at, table.kind === 'replicated' ? sharded(1) : undefined),
          },
        ],
        ([w, i], F) => F.embedding(w!, i!),
      )
    expect((await look(replicated(), sharded(0))).b).toEqual(sharded(0))
    expect((await look(sharded(1), replicated())).b).toEqual(sharded(2))
    expect((await look(sharded(0), replicated())).b).toEqual(partial())
  })

  test('attention: batches and heads cut', async () => {
    const m = mesh()
    const part = { shape: [2, 5, 4, 3], placements: on(m, sharded(1), sharded(0)) }
    const placements = await compare(m, [part, part, part], ([q, k, v], F) =>
      F.scaledDotProductAttention(q!, k!, v!, { causal: true }),
    )
    expect(placements.b).toEqual(sharded(1))
  })

  test('views: permute, transpose, reshape, narrow', async () => {
    const m = mesh()
    const x: Operand = { shape: [2, 8, 6], placements: on(m, sharded(1), sharded(0)) }
    expect((await compare(m, [x], ([a]) => a!.permute([2, 0, 1]))).b).toEqual(sharded(2))
    await compare(m, [x], ([a]) => a!.transpose(-1, 0).exp())
    expect((await compare(m, [x], ([a]) => a!.reshape([2, 4, 2, 6]))).b).toEqual(sharded(1))
    expect((await compare(m, [x], ([a]) => a!.reshape([2, -1]))).b).toEqual(sharded(1))
    await compare(m, [x], ([a]) => a!.narrow(2, 1, 3))
    await compare(m, [{ shape: [3, 4], placements: on(m, partial()) }], ([a]) => a!.reshape([-1]))
  })
})
