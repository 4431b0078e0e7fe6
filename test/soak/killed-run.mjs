// The run that the kill soak kills: node killed-run.mjs <folder> <device> <steps> <every> [workers <seed> <run ms>]. A device
// `cuda:0*2` is two parts of that GPU. Goes on with the run in `folder` where there is one. Prints a JSON line for every event that the soak looks at, and the result last.
// With `workers` it terminates a worker at a random moment itself, again and again, and relies on restarts.
import { Trainer } from 'weft'

const [folder, device, steps, every, mode, seed, runMs] = process.argv.slice(2)
const [devices, parts] = device.split('*')
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

const workers = []
let draws = Number(seed)
const random = () => {
  draws = (Math.imul(draws, 1_664_525) + 1_013_904_223) >>> 0
  return draws / 2 ** 32
}
/** Terminates one of the four newest workers after a while, at most three times. */
let terminated = 0
function terminateLater() {
  if (terminated++ === 3) return
  setTimeout(
    () => void workers.at(-1 - Math.floor(random() * 4))?.terminate(),
    random() * Number(runMs),
  )
}
if (mode === 'workers') process.on('worker', (worker) => workers.push(worker))

const told = ['start', 'resumed', 'checkpoint', 'restart']
const result = await new Trainer({
  task: new URL('../host/tasks/resumable.mjs', import.meta.url),
  devices,
  ...(parts === undefined ? {} : { virtual: Number(parts) }),
  steps: Number(steps),
  batchSize: 16,
  evaluateEvery: 100,
  runsFolder: folder,
  ...(every === 'none'
    ? { run: false }
    : {
        run: 'r',
        resume: true,
        checkpoint: { everySteps: Number(every), best: { metric: 'error', mode: 'min' } },
        restarts: mode === 'workers' ? 5 : 0,
      }),
  onEvent: (event) => {
    const { kind, step } = event
    if (told.includes(kind)) print({ kind, step })
    if (kind === 'start' && mode === 'workers') terminateLater()
  },
}).fit()
print({ kind: 'result', steps: result.steps, hash: result.hash, equal: result.replicasEqual })
process.exit(0)
