// `npm run fuzz -- --programs 1000 --seed 1`: random programs over meshes of 2 to 8 devices against one device, with
// random delays of the devices. A failure is printed with its seed and a shrunk program; exit code 1.
import { parseArgs } from 'node:util'
import { openFabric } from 'weft'
import { faults } from 'weft/testing'
import { difference, makeProgram, programText, randomStream, shrink } from './mesh-program.js'

const { values } = parseArgs({
  options: {
    programs: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    length: { type: 'string', default: '8' },
  },
})
const [programs, first, length] = [values.programs, values.seed, values.length].map(Number) as [
  number,
  number,
  number,
]
const fabric = await openFabric({ devices: 'host:0-7' })
let [failed, checked] = [0, 0]
const start = performance.now()
for (let seed = first; seed < first + programs && failed < 10; seed++) {
  const program = makeProgram(seed, length)
  const next = randomStream(seed)
  for (let device = 0; device < 8; device++) {
    faults.setDeviceDelay(device, next(8) === 0 ? next(300) : 0)
  }
  checked++
  const found = await difference(program, fabric)
  if (found === undefined) continue
  failed++
  const small = await shrink(
    program,
    async (smaller) => (await difference(smaller, fabric)) !== undefined,
  )
  console.log(`${await difference(small, fabric)}\n${programText(small)}\n`)
}
faults.clear()
const seconds = Number(((performance.now() - start) / 1000).toFixed(1))
console.log(JSON.stringify({ fuzz: 'mesh', programs: checked, seed: first, failed, seconds }))
process.exitCode = failed > 0 ? 1 : 0
