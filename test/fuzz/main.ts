// `npm run fuzz -- --programs 10000 --seed 1`: random programs over meshes of 2 to 8 devices, and every fourth over
// groups and streams, against one device, with random delays of the devices and lost peer access. A failure is printed
// with its seed and a shrunk program; exit code 1. `--device cuda:0` takes eight parts of that GPU, which have neither
// delays nor lost access; `--seconds 60` begins no program after that.
import { parseArgs } from 'node:util'
import { allowTf32, type Fabric, openFabric } from 'weft'
import { faults } from 'weft/testing'
import { groupProgramText, makeGroupProgram } from './group-program.js'
import { groupDifference } from './group-run.js'
import { makeProgram } from './make-program.js'
import { programText, randomStream } from './program.js'
import { difference } from './run-program.js'
import { shrink, smallerGroupPrograms, smallerPrograms } from './shrink.js'

const { values } = parseArgs({
  options: {
    programs: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    length: { type: 'string', default: '8' },
    device: { type: 'string' },
    seconds: { type: 'string', default: 'Infinity' },
  },
})
const { device } = values
const [programs, first, length, limit] = [
  values.programs,
  values.seed,
  values.length,
  values.seconds,
].map(Number) as [number, number, number, number]

/** Runs a program; what differs and the shrunk program, undefined where nothing does. */
async function failureOf<P>(
  program: P,
  differ: (program: P) => Promise<string | undefined>,
  smaller: (program: P) => Iterable<P>,
  text: (program: P) => string,
): Promise<string | undefined> {
  const found = await differ(program)
  if (found === undefined) return undefined
  const small = await shrink(program, smaller, async (p) => (await differ(p)) !== undefined)
  return `${(await differ(small)) ?? `${found} (not again)`}\n${text(small)}\n`
}

/** Some devices are slow, and some pairs have no peer access. */
function trouble(seed: number): void {
  if (device !== undefined) return
  faults.clear()
  const next = randomStream(seed)
  for (let pair = next(4) === 0 ? 6 : 0; pair > 0; pair--) {
    const [a, b] = [next(8), next(8)]
    if (a !== b) faults.setPeerAccess(a, b, false)
  }
  const slow = next(4) === 0
  for (let device = 0; device < 8; device++) {
    faults.setDeviceDelay(device, slow && next(4) === 0 ? next(200) : 0)
  }
}

const tally = { loosened: 0 }
const run = (seed: number, fabric: Fabric) =>
  seed % 4 === 0
    ? failureOf(
        makeGroupProgram(seed, length + 4),
        (program) => groupDifference(program, fabric),
        smallerGroupPrograms,
        groupProgramText,
      )
    : failureOf(
        makeProgram(seed, length),
        (program) => difference(program, fabric, { tally }),
        smallerPrograms,
        programText,
      )

const fabric = await openFabric(
  device === undefined ? { devices: 'host:0-7' } : { devices: [device], virtual: 8 },
)
// Exact values are whole numbers that TF32 would round.
allowTf32(false)
let [failed, checked] = [0, 0]
const start = performance.now()
const inTime = () => performance.now() - start < limit * 1000
for (let seed = first; seed < first + programs && failed < 10 && inTime(); seed++) {
  trouble(seed)
  checked++
  const failure = await run(seed, fabric)
  if (failure === undefined) continue
  failed++
  console.log(failure)
}
if (device === undefined) faults.clear()
const seconds = Number(((performance.now() - start) / 1000).toFixed(1))
console.log(
  JSON.stringify({ fuzz: true, programs: checked, seed: first, failed, ...tally, seconds }),
)
process.exitCode = failed > 0 ? 1 : 0
