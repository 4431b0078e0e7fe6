// `npm run test:package`: the published package, tried as a user would: installed in an empty folder, its addon
// built there, a program run, a TypeScript task trained. Needs npm's registry; where it cannot be reached the
// check is skipped. The last line is `N passed, N failed, N skipped`.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { countLine } from '../check/test-counts.mjs'
import { describeFailure, runChild } from '../children.mjs'
import { runMain, SetupError, setUp } from '../setup.mjs'
import { makePackage, publishedName } from './package.mjs'

const program = `
import { openFabric, ones, Trainer } from 'weft'
const fabric = await openFabric({ devices: 'host:0-1' })
const parts = fabric.devices.map(({ name }) => ones([4], { device: name }))
await fabric.group().allReduce(parts).done
if ((await parts[1].toArray()).join() !== '2,2,2,2') throw new Error('wrong sum')
const { steps, replicasEqual } = await new Trainer({ task: './task.ts', devices: 'host:0-1', run: false }).fit()
if (steps !== 3 || !replicasEqual) throw new Error('wrong training')
`

const task = `
import { data, defineTask, nn, optim, type Tensor } from 'weft'
export default defineTask({
  name: 'small',
  defaults: { steps: 3, batchSize: 2 },
  model: () => new nn.Linear(4, 1),
  data: ({ batchSize }) =>
    Array.from({ length: 3 }, (_, i) => ({ x: { data: new Float32Array(4 * batchSize).fill(i), shape: [batchSize, 4] } })),
  loss: (model, { x }): Tensor => model.forward(x).pow(2).mean(),
  optimizer: (parameters) => optim.sgd(parameters, { lr: 0.1 }),
})
`

/** Runs one step of the check; throws SetupError with what it printed when it fails. */
async function must(what, folder, command, args, limitSeconds, env = {}) {
  const start = performance.now()
  const result = await runChild(command, args, { cwd: folder, limitSeconds, env })
  if (result.code !== 0) {
    throw new SetupError(`${what}: ${describeFailure(result)}\n${result.output}`)
  }
  console.log(`package  ${what.padEnd(28)} ${((performance.now() - start) / 1000).toFixed(1)} s`)
}

async function check(folder) {
  const archive = await makePackage()
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n')
  writeFileSync(join(folder, 'program.js'), program)
  writeFileSync(join(folder, 'task.ts'), task)
  const quiet = ['--no-audit', '--no-fund', '--prefer-offline']
  await must('installed', folder, 'npm', ['install', ...quiet, `weft@file:${archive}`], 300)
  const weft = join(folder, 'node_modules/weft')
  const env = { WEFT_CUDA: 'off' }
  await must('built', weft, 'npm', ['run', 'build'], 1500, env)
  await must('built again, nothing to do', weft, 'npm', ['run', 'build'], 60, env)
  await must('a program', folder, process.execPath, ['program.js'], 120)
  const train = ['weft', 'train', 'task.ts', '-d', 'host:0-1', '--no-run']
  await must('a task on the command line', folder, 'npx', ['--no-install', ...train], 120)
}

await runMain(async () => {
  await setUp()
  const ping = await runChild('npm', ['ping'], { limitSeconds: 30 })
  if (ping.code !== 0) {
    console.log(`package  skipped: npm's registry cannot be reached: ${describeFailure(ping)}`)
    console.log(countLine({ passed: 0, failed: 0, skipped: 1 }))
    return
  }
  const folder = mkdtempSync(join(tmpdir(), 'weft-package-'))
  // However it ends, by a signal too.
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  await check(folder)
  console.log(`package  ${publishedName} works where it is installed`)
  console.log(countLine({ passed: 1, failed: 0, skipped: 0 }))
})
