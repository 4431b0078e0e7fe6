// What must be on a machine to build weft: Node, npm, cmake, a build tool, C++20 compilers, python3 with
// pip. Set-up checks it before it builds; `weft doctor` prints it. Plain Node: it runs before npm ci.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * @typedef {object} Requirement
 * @property {string} name
 * @property {boolean} ok
 * @property {string} found what is there: a version and where it comes from, or why it does not count
 * @property {string} needs what weft needs
 * @property {string} remedy how to get it; empty when ok
 */

const probeLimitMs = 60_000
const compilerProbe = `#include <concepts>
#include <atomic>
#include <span>
#include <thread>
template <std::integral T> T twice(T v) { return v + v; }
int main() {
  std::atomic<int> sum{0};
  std::jthread worker([&] { sum = twice(21); sum.notify_all(); });
  worker.join();
  int data[2] = {sum.load(), 0};
  return std::span<int>(data).front() == 42 ? 0 : 1;
}
`

/** The first dotted version number in a text, as numbers; `null` when there is none. */
export function parseVersion(text) {
  const match = /(\d+)\.(\d+)(?:\.(\d+))?/.exec(text)
  return match ? [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)] : null
}

/** Whether version `text` is at least `minimum` ("3.25"). */
export function atLeast(text, minimum) {
  const have = parseVersion(text)
  const want = parseVersion(minimum)
  if (!have || !want) return false
  for (let i = 0; i < 3; i++) {
    if (have[i] !== want[i]) return have[i] > want[i]
  }
  return true
}

/** Runs a probe: its exit code and all that it said. */
export function probe(command, args, options = {}) {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: probeLimitMs, ...options }, (error, stdout, stderr) => {
      const text = `${stdout}${stderr}`.trim()
      if (!error) resolve({ code: 0, text })
      else if (error.code === 'ENOENT') resolve({ code: 127, text: `${command} is not installed` })
      else
        resolve({
          code: typeof error.code === 'number' ? error.code : 1,
          text: text || error.message,
        })
    })
  })
}

const firstLine = (text) => text.split('\n')[0].trim()

/** @returns {Requirement} */
function requirement(name, ok, found, needs, remedy) {
  return { name, ok, found, needs, remedy: ok ? '' : remedy }
}

export function checkNode(version, minimum) {
  const remedy = `install Node.js ${minimum} or newer from https://nodejs.org`
  return requirement(
    'node',
    atLeast(version, minimum),
    `Node.js ${version}`,
    `>= ${minimum}`,
    remedy,
  )
}

async function checkNpm() {
  const { code, text } = await probe('npm', ['--version'])
  const version = text.split('\n').at(-1)
  const remedy = 'install npm (it comes with Node.js; on Debian: apt-get install npm)'
  return requirement('npm', code === 0, code === 0 ? `npm ${version}` : text, 'any', remedy)
}

/** From the answer of `cmake --version`. */
export function judgeCmake({ code, text }, minimum) {
  const ok = code === 0 && atLeast(text, minimum)
  const remedy =
    code === 0
      ? `install CMake ${minimum} or newer (Debian 12: apt-get install cmake; else: pip install cmake)`
      : 'apt-get install cmake'
  return requirement('cmake', ok, firstLine(text), `>= ${minimum}`, remedy)
}

async function checkBuildTool() {
  const ninja = await probe('ninja', ['--version'])
  if (ninja.code === 0)
    return requirement('build tool', true, `ninja ${firstLine(ninja.text)}`, 'any', '')
  const make = await probe('make', ['--version'])
  const found = make.code === 0 ? firstLine(make.text) : 'neither ninja nor make is installed'
  const remedy = 'apt-get install ninja-build (or make)'
  return requirement('build tool', make.code === 0, found, 'ninja or make', remedy)
}

/** The command that CMake would take: the environment's, else the first that is there. */
async function findCompiler(variable, candidates) {
  if (process.env[variable]) return process.env[variable].split(' ')[0]
  for (const name of candidates) {
    if ((await probe(name, ['--version'])).code !== 127) return name
  }
  return null
}

async function checkCompiler() {
  const needs = 'C and C++20'
  const remedy = 'apt-get install g++ (GCC 11 or newer, or set CXX to another compiler with C++20)'
  const cxx = await findCompiler('CXX', ['c++', 'g++', 'clang++'])
  const cc = await findCompiler('CC', ['cc', 'gcc', 'clang'])
  if (!cxx) return requirement('compiler', false, 'no C++ compiler is installed', needs, remedy)
  if (!cc)
    return requirement(
      'compiler',
      false,
      'no C compiler is installed',
      needs,
      'apt-get install gcc',
    )
  const version = firstLine((await probe(cxx, ['--version'])).text)
  const folder = mkdtempSync(join(tmpdir(), 'weft-compiler-'))
  try {
    writeFileSync(join(folder, 'probe.cc'), compilerProbe)
    const args = ['-std=c++20', '-pthread', 'probe.cc', '-o', 'probe']
    const built = await probe(cxx, args, { cwd: folder })
    if (built.code === 0) return requirement('compiler', true, version, needs, '')
    const reason =
      built.text.split('\n').find((line) => /error/i.test(line)) ?? firstLine(built.text)
    const found = `${version}: a C++20 program does not build: ${reason.trim()}`
    return requirement('compiler', false, found, needs, remedy)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** From the answers of `python3 --version` and `python3 -m pip --version`. */
export function judgePython(python, pip, minimum) {
  const needs = `>= ${minimum} with pip`
  if (python.code !== 0) {
    const remedy = 'apt-get install python3 python3-pip'
    return requirement('python3', false, firstLine(python.text), needs, remedy)
  }
  const version = firstLine(python.text)
  if (!atLeast(version, minimum)) {
    return requirement('python3', false, version, needs, `install Python ${minimum} or newer`)
  }
  const pipVersion = /^pip (\S+)/m.exec(pip.text)?.[1]
  if (pip.code !== 0 || !pipVersion) {
    return requirement(
      'python3',
      false,
      `${version} without pip`,
      needs,
      'apt-get install python3-pip',
    )
  }
  return requirement('python3', true, `${version}, pip ${pipVersion}`, needs, '')
}

async function checkPython(minimum) {
  const python = await probe('python3', ['--version'])
  const pip = python.code === 0 ? await probe('python3', ['-m', 'pip', '--version']) : python
  return judgePython(python, pip, minimum)
}

/**
 * All checks, in the order in which set-up needs them.
 *
 * @param {{ node: string, cmake: string, python: string }} minimum from scripts/versions.json
 * @returns {Promise<Requirement[]>}
 */
export async function checkRequirements(minimum) {
  const rest = [
    checkNpm(),
    probe('cmake', ['--version']).then((answer) => judgeCmake(answer, minimum.cmake)),
    checkBuildTool(),
    checkCompiler(),
    checkPython(minimum.python),
  ]
  return [checkNode(process.versions.node, minimum.node), ...(await Promise.all(rest))]
}

/** The message for what is missing: one line each, with the way to get it. */
export function explainMissing(requirements) {
  return requirements
    .filter((each) => !each.ok)
    .map((each) => `  ${each.name} (needs ${each.needs}): ${each.found}\n    -> ${each.remedy}`)
    .join('\n')
}
