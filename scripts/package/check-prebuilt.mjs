// Part of `npm run test:package`: the archives of `npm run pack:all`, installed from a registry on this machine into an
// empty folder with nothing on the PATH but Node and npm, and used from JavaScript, from the command line and from strict
// TypeScript.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describeFailure, readJson, runChild } from '../children.mjs'
import { root, SetupError } from '../setup.mjs'
import { asJavaScript, program, task, typescriptConfig, wrongDtype } from './consumer.mjs'
import { serveArchives } from './local-registry.mjs'
import { cudaPackage, hostPackage } from './platform-package.mjs'

const quiet = ['--no-audit', '--no-fund', '--prefer-offline']

/** A folder with Node, npm, npx and the shell that npx starts, alone: no compiler, no CMake, no Python. */
function barePath(folder) {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const name of ['node', 'npm', 'npx', 'sh']) {
    const found = execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()
    symlinkSync(name === 'node' ? process.execPath : found, join(bin, name))
  }
  return bin
}

function expectThat(what, holds) {
  if (!holds) throw new SetupError(`prebuilt: expected ${what}`)
}

/** One user's project: runs commands in it with the bare PATH, and tells how long each took. */
class Project {
  constructor(folder, path, registry) {
    this.folder = folder
    this.env = { PATH: path, CC: undefined, CXX: undefined, WEFT_ADDON: undefined }
    mkdirSync(folder)
    this.put('.npmrc', `@weft-runtime:registry=${registry}\nengine-strict=true\n`)
    this.put('package.json', '{ "private": true, "type": "module" }\n')
  }

  put(name, text) {
    writeFileSync(join(this.folder, name), text)
  }

  has(name) {
    return existsSync(join(this.folder, 'node_modules', name))
  }

  /** Its output; throws SetupError unless it ends with exit code `code`. */
  async run(what, command, args, { code = 0, limitSeconds = 120 } = {}) {
    const options = { cwd: this.folder, env: this.env, limitSeconds }
    const result = await runChild(command, args, options)
    if (result.code !== code || result.timedOut) {
      throw new SetupError(`${what}: ${describeFailure(result)}\n${result.output}`)
    }
    console.log(`package  ${what.padEnd(36)} ${result.seconds.toFixed(1)} s`)
    return result.output
  }

  install(what, ...args) {
    return this.run(what, 'npm', ['install', ...quiet, ...args], { limitSeconds: 300 })
  }
}

async function useJavaScript(project, platform) {
  await project.install('prebuilt: installed', 'weft@npm:@weft-runtime/weft')
  expectThat('the platform package beside weft', project.has('@weft-runtime/linux-x64/weft.node'))
  for (const name of ['cmake-js', 'node-addon-api', 'node-api-headers', 'esbuild', 'typescript']) {
    expectThat(`no ${name} where nobody asked for it`, !project.has(name))
  }
  const lock = readJson(join(project.folder, 'package-lock.json'))
  const scripts = Object.entries(lock.packages).filter(([, each]) => each.hasInstallScript)
  expectThat(`no scripts at installation, not ${JSON.stringify(scripts)}`, scripts.length === 0)

  // With a lockfile that was made so, on another machine.
  await project.run('prebuilt: npm ci', 'npm', ['ci', ...quiet], { limitSeconds: 300 })
  expectThat('the same from the lockfile', project.has('@weft-runtime/linux-x64/weft.node'))

  project.put('task.mjs', asJavaScript(task))
  project.put('program.mjs', asJavaScript(program('./task.mjs')))
  await project.run('prebuilt: a program', process.execPath, ['program.mjs'])
  const train = ['--no-install', 'weft', 'train', 'task.mjs', '-d', 'host:0-1', '--no-run']
  await project.run('prebuilt: a task, command line', 'npx', train)
  const doctor = await project.run('prebuilt: doctor', 'npx', ['--no-install', 'weft', 'doctor'])
  expectThat(
    `doctor to name ${platform}, not\n${doctor}`,
    new RegExp(`^package .*${platform} .*glibc`, 'm').test(doctor),
  )

  project.put('task.ts', task)
  const told = await project.run(
    'prebuilt: a TypeScript task, told how',
    'npx',
    train.with(3, 'task.ts'),
    { code: 2 },
  )
  expectThat(`the remedy in\n${told}`, /task\.ts is TypeScript.*npm install esbuild/.test(told))
}

async function useTypeScript(project) {
  const { devDependencies } = readJson(join(root, 'package.json'))
  const wanted = ['esbuild', 'typescript', '@types/node'].map((n) => `${n}@${devDependencies[n]}`)
  await project.install('prebuilt: TypeScript, esbuild', '--save-dev', ...wanted)
  project.put('program.ts', program('./task.ts'))
  const strict = { ...typescriptConfig, include: ['program.ts', 'task.ts'] }
  project.put('tsconfig.json', JSON.stringify(strict))
  const tsc = join(project.folder, 'node_modules/typescript/bin/tsc')
  await project.run('prebuilt: strict, skipLibCheck false', process.execPath, [tsc, '-p', '.'])
  await project.run('prebuilt: the compiled program', process.execPath, ['out/program.js'])

  project.put('wrong.ts', wrongDtype)
  project.put('tsconfig.wrong.json', JSON.stringify({ ...strict, include: ['wrong.ts'] }))
  const args = [tsc, '-p', 'tsconfig.wrong.json', '--noEmit', '--pretty', 'false']
  const result = await runChild(process.execPath, args, { cwd: project.folder, limitSeconds: 120 })
  const errors = result.output
    .trim()
    .split('\n')
    .filter((line) => /error TS/.test(line))
  expectThat(
    `to('bf17') alone not to compile, not\n${result.output}`,
    result.code !== 0 && errors.length === 1 && /^wrong\.ts\(3,.*'"bf17"'/.test(errors[0]),
  )
}

/** On another machine npm leaves the platform package out; weft says what is missing. */
async function useElsewhere(project) {
  await project.install('prebuilt: as for arm64', '--cpu=arm64', 'weft@npm:@weft-runtime/weft')
  expectThat('no addon for another processor', !project.has('@weft-runtime/linux-x64'))
  project.put('program.mjs', "import 'weft'\n")
  const told = await project.run(
    'prebuilt: no addon, told how',
    process.execPath,
    ['program.mjs'],
    {
      code: 1,
    },
  )
  expectThat(
    `a DeviceError with the remedy in\n${told}`,
    /DeviceError.*not found.*@weft-runtime\/linux-x64.*npm run build/s.test(told),
  )
}

/**
 * Throws SetupError where the archives do not work without a compiler.
 *
 * @param {string} folder an empty one
 * @param {Map<string, string>} archives by package name
 */
export async function checkPrebuilt(folder, archives) {
  expectThat('an empty folder', readdirSync(folder).length === 0)
  const path = barePath(folder)
  const registry = await serveArchives(archives)
  try {
    const project = new Project(join(folder, 'project'), path, registry.url)
    // Where both are there, weft takes the one with device code.
    await useJavaScript(project, archives.has(cudaPackage) ? cudaPackage : hostPackage)
    await useTypeScript(project)
    await useElsewhere(new Project(join(folder, 'elsewhere'), path, registry.url))
  } finally {
    await registry.close()
  }
}
