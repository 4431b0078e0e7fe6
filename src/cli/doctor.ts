// `weft doctor`: what this machine has and lacks to build and run weft: the checks of set-up, the packaged
// BLAS, the addon (loaded in a process of its own, as it may crash), plugins (doctor-plugins.ts) and the state of CUDA.
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { pathToFileURL } from 'node:url'
import type { Command } from 'commander'
import {
  addonCandidates,
  findAddon,
  howToGetAddon,
  packageRoot,
  packageVersion,
} from '../native/load.js'
import { prebuiltAddons, unfit } from '../native/prebuilt.js'
import type { BuildInfo, NvmlReport } from '../native/types.js'
import { examinePlugins, type PluginReport } from './doctor-plugins.js'
import { formatBytes } from './format-bytes.js'

const loadLimitMs = 30_000

/** One line of the report. `note` is neither good nor bad. */
export interface Finding {
  name: string
  state: 'ok' | 'missing' | 'note'
  detail: string
  /** What to do about it; empty unless something is missing. */
  remedy: string
}

/** What scripts/build/requirements.mjs answers; set-up runs it before anything is compiled. */
interface Requirement {
  name: string
  ok: boolean
  found: string
  needs: string
  remedy: string
}

interface RequirementsModule {
  checkRequirements(minimum: Record<string, string>): Promise<Requirement[]>
}

const note = (name: string, detail: string): Finding => ({
  name,
  state: 'note',
  detail,
  remedy: '',
})

function osName(): string {
  try {
    const text = readFileSync('/etc/os-release', 'utf8')
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(text)?.[1] ?? process.platform
  } catch {
    return process.platform
  }
}

function machine(): Finding[] {
  const processors = cpus()
  const model = processors[0]?.model.trim() ?? process.arch
  return [
    note('machine', `${model}, ${processors.length} cores, ${formatBytes(totalmem())} memory`),
    note('system', `${osName()}, kernel ${release()}, ${process.arch}`),
  ]
}

async function requirements(): Promise<Finding[]> {
  // A bundle brings what it needs; nothing is built where it lies.
  const bundle = `${packageRoot}bundle.json`
  if (existsSync(bundle)) {
    const { commit, date, cuda } = JSON.parse(readFileSync(bundle, 'utf8')) as Record<
      string,
      string
    >
    return [note('bundle', `of ${commit}, made ${date}, device code for ${cuda}`)]
  }
  const used = prebuiltAddons().find(({ path }) => path === findAddon())
  if (used !== undefined) {
    const { name, version, weft } = used.manifest
    const code = weft.deviceCode || 'none'
    return [
      note('package', `${name} ${version}, prebuilt for glibc ${weft.glibc}, device code: ${code}`),
    ]
  }
  const scripts = pathToFileURL(`${packageRoot}scripts/`)
  const versions = JSON.parse(readFileSync(new URL('versions.json', scripts), 'utf8'))
  const module = (await import(
    new URL('build/requirements.mjs', scripts).href
  )) as RequirementsModule
  return (await module.checkRequirements(versions.minimum)).map((each) => ({
    name: each.name,
    state: each.ok ? 'ok' : 'missing',
    detail: each.ok ? each.found : `${each.found} (needs ${each.needs})`,
    remedy: each.remedy,
  }))
}

type Loaded = BuildInfo & { nvml: NvmlReport; gemm: string }

/** Loads the addon in a child process: what it was built with and finds, or why it does not load. */
function loadInChild(path: string): Promise<Loaded | string> {
  const program =
    'const addon = require(process.argv[1]);' +
    'let gemm; try { gemm = addon.gemmPolicy() } catch (error) { gemm = error.message }' +
    'process.stdout.write(JSON.stringify({ ...addon.buildInfo(), nvml: addon.nvml(), gemm }))'
  const args = ['--input-type=commonjs', '-e', program, path]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: loadLimitMs }, (error, stdout, stderr) => {
      if (!error) resolve(JSON.parse(stdout) as Loaded)
      else if (error.signal) resolve(`loading it ended the process by ${error.signal}`)
      else resolve(/^Error: (.*)$/m.exec(stderr)?.[1] ?? error.message)
    })
  })
}

function describeBlas(info: BuildInfo): Finding {
  if (info.blas !== 'plain') return { name: 'BLAS', state: 'ok', detail: info.blas, remedy: '' }
  return note(
    'BLAS',
    'none: matrix products use the plain loop; npm run build tries to install one',
  )
}

async function addon(): Promise<{ findings: Finding[]; info: Loaded | undefined }> {
  const path = findAddon()
  const missing = (detail: string, remedy: string): { findings: Finding[]; info: undefined } => ({
    findings: [{ name: 'addon', state: 'missing', detail, remedy }],
    info: undefined,
  })
  const looked = addonCandidates().join(', ')
  if (path === undefined) return missing(`not found; looked at ${looked}`, howToGetAddon())
  const prebuilt = prebuiltAddons().find((each) => each.path === path)
  const reason = prebuilt && unfit(prebuilt, packageVersion())
  if (reason !== undefined) return missing(path, reason)
  const loaded = await loadInChild(path)
  if (typeof loaded === 'string') {
    const reason = loaded.startsWith(path) ? loaded : `${path}: ${loaded}`
    return missing(
      reason,
      prebuilt ? howToGetAddon() : `rm -r ${packageRoot}build, then npm run build`,
    )
  }
  const detail = `${path}, compiler ${loaded.compiler}, Node-API ${loaded.napi}, ${loaded.threads} threads`
  const built: Finding = { name: 'addon', state: 'ok', detail, remedy: '' }
  const devices = loaded.drivers.map((driver) => `${driver.name}: ${driver.devices}`).join(', ')
  const findings = [
    built,
    describeBlas(loaded),
    note('devices', devices || 'none'),
    describeChoices(loaded.gemm, loaded.cuda, process.env.WEFT_GEMM_CHOICES),
  ]
  return { findings, info: loaded }
}

/** How kernels of matrix products are chosen here, and so whether runs repeat bit by bit. */
export function describeChoices(policy: string, cuda: boolean, given: string | undefined): Finding {
  const name = 'choices'
  if (!['measured', 'estimated', 'given'].includes(policy)) {
    const remedy = 'set WEFT_DETERMINISTIC to 1 or 0, or leave it out'
    return { name, state: 'missing', detail: policy, remedy }
  }
  if (!cuda) return note(name, 'host devices have none: deterministic')
  if (given) return note(name, `GEMM kernels as given by ${given}: deterministic`)
  if (policy !== 'measured') return note(name, 'GEMM kernels by estimate: deterministic')
  return note(
    name,
    'GEMM kernels by measurement; WEFT_DETERMINISTIC=1 makes runs repeat bit by bit',
  )
}

/** The state of CUDA, from what is installed and what the addon was built with. */
export function describeCuda(facts: {
  driver: string | undefined
  built: boolean
  deviceCode: string
  nvml: NvmlReport | undefined
}): Finding[] {
  const driver = facts.driver ? `NVIDIA driver ${facts.driver}` : 'no NVIDIA driver on this machine'
  const built = facts.built
    ? `the addon has the cuda driver and device code for ${facts.deviceCode}`
    : 'this build has no cuda driver'
  const cuda = note('CUDA', `${driver}; ${built}`)
  if (facts.nvml === undefined) return [cuda]
  const { found, driverVersion, detail } = facts.nvml
  const nvml = found ? `found: ${detail}, driver ${driverVersion}` : `not found: ${detail}`
  return [cuda, note('NVML', nvml)]
}

function nvidiaDriver(): string | undefined {
  const file = '/proc/driver/nvidia/version'
  if (!existsSync(file)) return undefined
  return (
    /Kernel Module\s+(?:for \S+\s+)?([\d.]+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? 'present'
  )
}

async function examine(named: string[]): Promise<{ findings: Finding[]; plugins: PluginReport[] }> {
  const [required, native] = await Promise.all([requirements(), addon()])
  const nvml = native.info?.nvml
  const driver = nvidiaDriver() ?? (nvml?.driverVersion || undefined)
  const { cuda: built = false, deviceCode = '' } = native.info ?? {}
  const cuda = describeCuda({ driver, built, deviceCode, nvml })
  const { plugins, findings } = await examinePlugins(native.info && findAddon(), named)
  return {
    findings: [...machine(), ...required, ...native.findings, ...findings, ...cuda],
    plugins,
  }
}

async function doctor(flags: { json?: boolean; plugin?: string[] }): Promise<void> {
  const { findings, plugins } = await examine(flags.plugin ?? [])
  const ok = findings.every((each) => each.state !== 'missing')
  if (!ok) process.exitCode = 1
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ ok, findings, plugins })}\n`)
    return
  }
  const marks = { ok: 'ok', missing: 'MISSING', note: '' }
  for (const { name, state, detail, remedy } of findings) {
    process.stdout.write(`${name.padEnd(12)} ${marks[state].padEnd(8)} ${detail}\n`)
    if (remedy) process.stdout.write(`${''.padEnd(21)} -> ${remedy}\n`)
  }
  process.stdout.write(ok ? 'everything that weft needs is here\n' : 'something is missing\n')
}

/** Adds `weft doctor` to the program. */
export function doctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('tell what this machine has and lacks to build and run weft')
    .option('--plugin <names...>', 'plugins of yours that should load, beside those of weft')
    .option('--json', 'print one JSON object')
    .action(doctor)
}
