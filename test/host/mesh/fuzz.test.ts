// Random programs over meshes and groups agree with one device; and the comparison finds planted mistakes and shrinks
// them to a few steps.
import { beforeAll, expect, test } from 'vitest'
import { type Fabric, fromLocal, openFabric } from 'weft'
import { collectives, groupProgramText, makeGroupProgram } from '../../fuzz/group-program.js'
import { groupDifference, type Swap } from '../../fuzz/group-run.js'
import { makeProgram } from '../../fuzz/make-program.js'
import { dtypes, type Program, programText } from '../../fuzz/program.js'
import { difference, type Plant } from '../../fuzz/run-program.js'
import { shrink, smallerGroupPrograms, smallerPrograms } from '../../fuzz/shrink.js'
import { several } from '../device.js'

let fabric: Fabric
beforeAll(async () => {
  fabric = await openFabric(several(8))
})

test('200 random programs over meshes give the values and gradients of one device', async () => {
  const seen = new Set<string>()
  for (let seed = 1; seed <= 200; seed++) {
    const program = makeProgram(seed, 8)
    seen.add(program.dtype)
    for (const { op } of program.steps) seen.add(op)
    const found = await difference(program, fabric)
    if (found !== undefined) expect.fail(`${found}\n${programText(program)}`)
  }
  for (const each of [...dtypes, 'attention', 'embedding', 'linear', 'layerNorm', 'crossEntropy']) {
    expect(seen).toContain(each)
  }
})

test('60 random programs over groups and streams give the values of one device', async () => {
  const seen = new Set<string>()
  for (let seed = 1; seed <= 60; seed++) {
    const program = makeGroupProgram(seed, 12)
    for (const { op } of program.steps) seen.add(op)
    const found = await groupDifference(program, fabric)
    if (found !== undefined) expect.fail(`${found}\n${groupProgramText(program)}`)
  }
  for (const op of collectives) expect(seen).toContain(op)
})

/** A rule that lets terms of a sum through what is not linear in them. */
const throughTanh: Plant = ({ op }, [x]) =>
  op === 'tanh' && x !== undefined && Object.values(x.placements).some((p) => p.kind === 'partial')
    ? fromLocal(
        x.mesh,
        x.locals.map((part) => part.tanh()),
        x.placements,
      )
    : undefined
/** A reduction that forgets the other devices. */
const localMaximum: Plant = ({ op, dim = 0, keepDim = false }, [x]) => {
  if (op !== 'max' || x === undefined) return undefined
  const cut = Object.values(x.placements).some((p) => p.kind === 'sharded' && p.dim === dim)
  if (!cut || x.locals.some((part) => part.numel === 0)) return undefined
  return fromLocal(
    x.mesh,
    x.locals.map((part) => part.max(dim, { keepDim })),
  )
}

test.each([
  ['tanh', throughTanh],
  ['max', localMaximum],
])('a wrong rule for %s is found and shrunk to it', async (op, plant) => {
  for (let seed = 1; ; seed++) {
    expect(seed).toBeLessThan(3000)
    const program = makeProgram(seed, 8)
    if (!program.steps.some((step) => step.op === op)) continue
    const differs = async (p: Program) => (await difference(p, fabric, { plant })) !== undefined
    if (!(await differs(program))) continue
    expect(await difference(program, fabric)).toBeUndefined()
    const small = await shrink(program, smallerPrograms, differs)
    const ops = small.steps.map((step) => step.op).filter((each) => each !== 'input')
    expect(ops).toContain(op)
    expect(ops.length).toBeLessThanOrEqual(2)
    expect(programText(small)).toContain(`seed ${seed}, mesh `)
    return
  }
})

test('a collective that does something else is found and shrunk to it', async () => {
  const swap: Swap = (step) => (step.op === 'reduce' ? { ...step, op: 'allReduce' } : step)
  for (let seed = 1; ; seed++) {
    const program = makeGroupProgram(seed, 12)
    if ((await groupDifference(program, fabric, swap)) === undefined) continue
    const small = await shrink(
      program,
      smallerGroupPrograms,
      async (p) => (await groupDifference(p, fabric, swap)) !== undefined,
    )
    expect(small.steps.map(({ op }) => op)).toEqual(['reduce'])
    expect(small.elements).toBeLessThanOrEqual(program.elements)
    return
  }
})
