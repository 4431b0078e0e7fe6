// `npm run device-code`: compiles all device code, without a GPU and without linking an addon: what uses instructions of
// one architecture for every one that weft supports, the rest for the newest. CI calls it, so that code for GPUs that
// nobody here has always compiles. That it serialised wgmma, which costs most of the speed, ptxas tells by a remark (C7510
// and its kin), not by a warning: here it is an error.
import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { cudaOptions, parallelJobs } from './build-steps.mjs'
import { describeFailure, readJson, runChild, whyFailed } from '../children.mjs'
import { cudaPlan, installCuda } from './cuda-toolkit.mjs'
import { root, runMain, SetupError } from '../setup.mjs'

const folder = 'build-device'

await runMain(async () => {
  const cuda = cudaPlan('on')
  const context = { root, cuda, versions: readJson(join(root, 'scripts/versions.json')) }
  if (installCuda.due(context)) {
    const outcome = await installCuda.run(context)
    if (outcome.error)
      throw new SetupError(`the CUDA toolkit could not be installed: ${outcome.error}`)
    console.log(`device code  ${outcome.note}`)
  }
  const options = cudaOptions(root, cuda).map((option) => option.replace('--CD', '-D'))
  const start = performance.now()
  for (const [name, args, limitSeconds] of [
    ['device-configure', ['-S', '.', '-B', folder, '-DWEFT_BUILD_ADDON=OFF', '-DWEFT_CUDA_CHECK=ON', ...options], 300],
    [
      'device-compile',
      ['--build', folder, '--target', 'weft_core', 'ringallreduce', 'swiglu', '--parallel', String(parallelJobs)],
      4000,
    ],
  ]) {
    const log = join(root, '.weft/log', `${name}.log`)
    const result = await runChild('cmake', args, { cwd: root, log, limitSeconds })
    if (result.code !== 0) {
      throw new SetupError(
        `${name}: ${describeFailure(result)}\n${whyFailed(result.output)}\nthe whole log: ${relative(process.cwd(), log)}`,
      )
    }
    const serialised = readFileSync(log, 'utf8').match(/^.*wgmma.*serialized.*$/m)
    if (serialised) throw new SetupError(`${name}: ${serialised[0].trim()}\nthe whole log: ${relative(process.cwd(), log)}`)
  }
  const seconds = (performance.now() - start) / 1000
  console.log(`device code  compiled for ${cuda.architectures} (${seconds.toFixed(0)} s)`)
})
