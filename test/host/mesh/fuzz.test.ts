// Random programs over meshes agree with one device; and the comparison finds a wrong rule and shrinks it.
import { beforeAll, expect, test } from 'vitest'
import { type Fabric, openFabric } from 'weft'
import { difference, makeProgram, programText, type Step, shrink } from '../../fuzz/mesh-program.js'
import { several } from '../device.js'

let fabric: Fabric
beforeAll(async () => {
  fabric = await openFabric(several(8))
})

test('150 random programs give the values and gradients of one device', async () => {
  for (let seed = 1; seed <= 150; seed++) {
    const program = makeProgram(seed, 6)
    const found = await difference(program, fabric)
    if (found !== undefined) expect.fail(`${found}\n${programText(program)}`)
  }
})

test('a wrong operator is found and shrunk to the step', async () => {
  const wrong = (step: Step): Step => (step.op === 'sub' ? { ...step, op: 'add' } : step)
  for (let seed = 1; ; seed++) {
    const program = makeProgram(seed, 8)
    if ((await difference(program, fabric, wrong)) === undefined) continue
    const small = await shrink(
      program,
      async (smaller) => (await difference(smaller, fabric, wrong)) !== undefined,
    )
    expect(small.steps.map(({ op }) => op)).toContain('sub')
    expect(small.steps.length).toBeLessThan(program.steps.length)
    expect(programText(small)).toContain(`seed ${seed}`)
    return
  }
})
