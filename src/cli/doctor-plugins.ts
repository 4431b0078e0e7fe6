// Which plugins would load, for `weft doctor`: weft's own and those that the caller names. Each is loaded in a
// process of its own, which may crash, after those that loaded before it, so that names taken twice are seen too.
import { execFile } from 'node:child_process'
import { findOwnPlugin, ownPlugins, pluginPath } from '../fabric/plugin-path.js'
import { WeftError } from '../native/errors.js'
import type { NativePlugin } from '../native/types.js'
import type { Finding } from './doctor.js'

const loadLimitMs = 30_000

/** One plugin: what it brings, or why it does not load. */
export interface PluginReport {
  /** As the caller named it. */
  plugin: string
  path: string
  error?: string
  name?: string
  version?: string
  abi?: string
  algorithms?: string[]
  operators?: string[]
}

const program = `
const [addonPath, ...paths] = process.argv.slice(1)
const addon = require(addonPath)
let last
for (const path of paths) {
  try { last = addon.loadPlugin(path) } catch (error) { last = (error.code === 'WEFT_PLUGIN' ? 'PluginError' : error.code) + ': ' + error.message }
}
process.stdout.write('\\n' + JSON.stringify(last))`

/** Loads `paths` in order in a child process; the last one's description, or why it did not load. */
function loadLast(addon: string, paths: string[]): Promise<NativePlugin | string> {
  const args = ['--input-type=commonjs', '-e', program, addon, ...paths]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: loadLimitMs }, (error, stdout, stderr) => {
      const answer = stdout.slice(stdout.lastIndexOf('\n') + 1)
      if (!error && answer === '') resolve('loading it ended the process without an error')
      else if (!error) resolve(JSON.parse(answer))
      else if (error.killed) resolve(`loading it took more than ${loadLimitMs / 1000} s`)
      else if (error.signal) resolve(`loading it ended the process by ${error.signal}`)
      else resolve(`loading it ended the process: ${stderr.trim() || error.message}`)
    })
  })
}

async function report(addon: string, plugin: string, loaded: string[]): Promise<PluginReport> {
  let path = plugin
  try {
    path = pluginPath(plugin)
  } catch (error) {
    if (!(error instanceof WeftError)) throw error
    return { plugin, path, error: `${error.name}: ${error.message}` }
  }
  const answer = await loadLast(addon, [...loaded, path])
  if (typeof answer === 'string') return { plugin, path, error: answer }
  const [name, version, whole, abi, algorithms, operators] = answer
  loaded.push(path)
  return { plugin, path: whole, name, version, abi, algorithms, operators }
}

function describe(each: PluginReport): Finding {
  if (each.error !== undefined) {
    const remedy = 'build it against this weft: docs/plugins.md, fabric/include/fabric/plugin_abi.h'
    return { name: 'plugin', state: 'missing', detail: `${each.plugin}: ${each.error}`, remedy }
  }
  const list = (kind: string, names: string[] = []): string =>
    names.length === 0 ? `no ${kind}` : `${kind} ${names.join(' ')}`
  const detail = [
    `${each.name} ${each.version}, interface ${each.abi}`,
    list('algorithms', each.algorithms),
    list('operators', each.operators),
    each.path,
  ].join(', ')
  return { name: 'plugin', state: 'ok', detail, remedy: '' }
}

/** Looks at weft's own plugins and `named`; without an addon nothing can be loaded. */
export async function examinePlugins(
  addon: string | undefined,
  named: string[],
): Promise<{ plugins: PluginReport[]; findings: Finding[] }> {
  if (addon === undefined) return { plugins: [], findings: [] }
  const there = ownPlugins.filter((name) => findOwnPlugin(name) !== undefined)
  const lacking = ownPlugins.filter((name) => !there.includes(name) && !named.includes(name))
  const loaded: string[] = []
  const plugins: PluginReport[] = []
  for (const plugin of [...there, ...named.filter((name) => !there.some((own) => own === name))]) {
    plugins.push(await report(addon, plugin, loaded))
  }
  const findings = plugins.map(describe)
  for (const name of lacking) {
    const detail = `${name}: not in this build (it comes with device code)`
    findings.push({ name: 'plugin', state: 'note', detail, remedy: '' })
  }
  return { plugins, findings }
}
