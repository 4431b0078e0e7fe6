// Set-up: packages, BLAS, native addon, TypeScript; each only when its inputs changed. Run by npm start,
// npm test, npm run bench (as a function) and by hand (npm run build). Plain Node: it runs before npm ci.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { buildNative, buildTypeScript, installBlas, installPackages } from './build/build-steps.mjs'
import { cudaPlan, installCuda } from './build/cuda-toolkit.mjs'
import { checkNode, checkRequirements, explainMissing } from './build/requirements.mjs'
import { takeLock } from './build/setup-lock.mjs'
import { Stamps } from './build/stamps.mjs'
import { readJson } from './children.mjs'

export const root = fileURLToPath(new URL('..', import.meta.url))

/** What went wrong, in words for the person at the terminal; needs no stack. */
export class SetupError extends Error {
  name = 'SetupError'
}

/** The CUDA choice of this run; what `auto` means here is for cuda-toolkit.mjs to say. */
export function cudaChoice(value = process.env.WEFT_CUDA ?? 'auto') {
  if (value === 'auto' || value === 'off' || value === 'on') return value
  throw new SetupError(`WEFT_CUDA must be auto, on or off, not '${value}'`)
}

function report(name, seconds, note) {
  console.log(`setup  ${name.padEnd(13)} ${seconds.toFixed(1).padStart(6)} s  ${note}`)
}

/** On a terminal, shows what runs now; `clear` removes it. */
function liveLine(name) {
  const isTerminal = process.stdout.isTTY
  return {
    show(text) {
      if (isTerminal)
        process.stdout.write(`\r\x1b[2Ksetup  ${name.padEnd(13)} ${text.slice(0, 70)}`)
    },
    clear() {
      if (isTerminal) process.stdout.write('\r\x1b[2K')
    },
  }
}

async function checkMachine(minimum) {
  const start = performance.now()
  const requirements = await checkRequirements(minimum)
  const missing = explainMissing(requirements)
  if (missing) throw new SetupError(`this machine lacks what weft needs to build:\n${missing}`)
  const compiler = requirements.find((each) => each.name === 'compiler')
  report('requirements', (performance.now() - start) / 1000, compiler.found)
}

/**
 * Brings the checkout to a state in which `dist/cli/main.js` runs. `again`: also repeat optional steps
 * that failed before.
 *
 * @param {{ again?: boolean }} options
 * @returns {Promise<{ seconds: number, didWork: boolean }>}
 */
export async function setUp({ again = false } = {}) {
  const start = performance.now()
  const versions = readJson(join(root, 'scripts/versions.json'))
  const node = checkNode(process.versions.node, versions.minimum.node)
  if (!node.ok) throw new SetupError(explainMissing([node]).trim())
  const cuda = cudaPlan(cudaChoice())
  const giveBack = await takeLock(join(root, '.weft/setup.lock'), (pid) =>
    console.log(`setup  another set-up (process ${pid}) is at work here; waiting for it`),
  )
  let didWork = false
  try {
    const context = {
      root,
      versions,
      cuda,
      again,
      stamps: new Stamps(join(root, '.weft/stamps.json')),
    }
    let checked = false
    for (const step of [installPackages, installBlas, installCuda, buildNative, buildTypeScript]) {
      const due = step.due(context)
      if (!due) continue
      if (!checked) await checkMachine(versions.minimum)
      checked = true
      didWork = true
      const line = liveLine(step.title)
      const stepStart = performance.now()
      line.show('...')
      const outcome = await step.run({ ...context, show: line.show })
      line.clear()
      const seconds = (performance.now() - stepStart) / 1000
      if (outcome.error) throw new SetupError(`${step.title} failed: ${outcome.error}`)
      report(step.title, seconds, outcome.note)
    }
  } finally {
    giveBack()
  }
  const seconds = (performance.now() - start) / 1000
  report(didWork ? 'done' : 'up to date', seconds, existsSync(join(root, 'dist')) ? '' : 'no dist/')
  return { seconds, didWork }
}

/** Runs a script's main function: a SetupError is its message alone, exit code 1. */
export async function runMain(main) {
  try {
    await main()
  } catch (error) {
    console.error(error instanceof SetupError ? `weft: ${error.message}` : error)
    process.exitCode = 1
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runMain(() => setUp({ again: true }))
}
