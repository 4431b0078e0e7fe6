// Whether set-up builds device code, for which architectures, and with which toolkit: nvcc on the PATH where it is
// CUDA 13, else the pinned wheels from PyPI in .weft/cuda. Called by scripts/setup.mjs; the CUDA rules of
// docs/architecture.md.
import { execFileSync } from 'node:child_process'
import { existsSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describeFailure, tailOf } from '../children.mjs'
import { pipInstall } from './pip-install.mjs'

export const defaultArchitectures = '90a;100a;103a'

function output(command, args) {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      timeout: 20_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  } catch {
    return ''
  }
}

/** Compute capabilities of the GPUs here as architectures, such as `90a`; empty without a GPU. */
export function gpuArchitectures(
  query = () => output('nvidia-smi', ['--query-gpu=compute_cap', '--format=csv,noheader']),
) {
  const found = query().match(/^\d+\.\d+$/gm) ?? []
  return [
    ...new Set(found.map((each) => `${each.replace('.', '')}${Number(each) >= 9 ? 'a' : ''}`)),
  ]
}

/**
 * What WEFT_CUDA means on this machine: `null` for no device code, else the architectures to build for.
 * `auto` builds for the GPUs that are here and for none where there is none; `on` for
 * WEFT_CUDA_ARCHITECTURES, by default every architecture that weft supports.
 *
 * @param {'auto' | 'on' | 'off'} choice
 */
export function cudaPlan(choice, here = gpuArchitectures) {
  if (choice === 'off') return null
  if (choice === 'on')
    return { architectures: process.env.WEFT_CUDA_ARCHITECTURES ?? defaultArchitectures }
  const present = here()
  return present.length === 0 ? null : { architectures: present.join(';') }
}

/** The toolkit on the PATH when it is CUDA 13, else the one in .weft/cuda when it is whole, else `null`. */
export function cudaToolkit(root) {
  const release = /release (\d+)\./.exec(output('nvcc', ['--version']))?.[1]
  if (release === '13') {
    const nvcc = output('sh', ['-c', 'command -v nvcc']).trim()
    return { root: dirname(dirname(nvcc)), from: 'the PATH' }
  }
  const wheels = join(root, '.weft/cuda/nvidia/cu13')
  return existsSync(join(wheels, 'lib/libcudart.so')) ? { root: wheels, from: 'PyPI' } : null
}

/** CUTLASS's headers in .weft/cutlass, else `null`. */
export function cutlassFolder(root) {
  const folder = join(root, '.weft/cutlass/cutlass_library/source')
  return existsSync(join(folder, 'include/cutlass/cutlass.h')) ? folder : null
}

const pins = (group) => Object.entries(group).map(([name, version]) => `${name}==${version}`)

/** The set-up step that brings what device code is built with. */
export const installCuda = {
  title: 'CUDA toolkit',

  due({ root, cuda }) {
    return cuda !== null && (!cudaToolkit(root) || !cutlassFolder(root))
  },

  async run({ root, versions }) {
    const notes = []
    if (!cudaToolkit(root)) {
      const result = await pipInstall(root, 'cuda', pins(versions.cuda), 'cuda')
      if (result.code !== 0)
        return { error: `${describeFailure(result)}\n${tailOf(result.output, 3)}` }
      // The wheels lack two links that nvcc and CMake look for.
      const wheels = join(root, '.weft/cuda/nvidia/cu13')
      if (!existsSync(join(wheels, 'lib64'))) symlinkSync('lib', join(wheels, 'lib64'))
      if (!existsSync(join(wheels, 'lib/libcudart.so'))) {
        symlinkSync('libcudart.so.13', join(wheels, 'lib/libcudart.so'))
      }
      notes.push(`nvcc ${versions.cuda['nvidia-cuda-nvcc']}`)
    }
    if (!cutlassFolder(root)) {
      const result = await pipInstall(root, 'cutlass', pins(versions.cutlass), 'cutlass')
      if (result.code !== 0)
        return { error: `${describeFailure(result)}\n${tailOf(result.output, 3)}` }
      notes.push(`CUTLASS ${versions.cutlass['nvidia-cutlass']}`)
    }
    return { note: notes.join(', ') }
  },
}
