// `npm run soak -- files | kill`: long checks that CI runs in short. Prints each failure with its seed and, last, one
// JSON line; exit code 1 when there was a failure.
import { parseArgs } from 'node:util'
import { soakFiles } from './files.js'
import { soakKills } from './kills.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '100000' },
    runs: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    workers: { type: 'boolean', default: false },
    steps: { type: 'string', default: '1000' },
    device: { type: 'string', default: 'host:0-3' },
  },
})
const seed = Number(values.seed)
const [what] = positionals
const print = (line: string) => console.log(line)
let failed = 1
if (what === 'files') failed = await soakFiles({ count: Number(values.count), seed, print })
else if (what === 'kill') {
  const { workers, device } = values
  const [runs, steps] = [values.runs, values.steps].map(Number) as [number, number]
  failed = await soakKills({ runs, seed, workers, device, steps, print })
} else
  console.error(
    'usage: npm run soak -- files --count N --seed S | kill --runs N --seed S [--workers]',
  )
process.exitCode = failed > 0 ? 1 : 0
