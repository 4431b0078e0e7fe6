// Plugins: libraries that bring collective algorithms and operators over weft's C interface (docs/plugins.md). They are the
// process's, whatever fabric or worker loads them. Fabric's methods call these.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { native } from '../native/addon.js'
import { PluginError } from '../native/errors.js'
import { findAddon } from '../native/load.js'
import type { NativePlugin } from '../native/types.js'

/** A loaded plugin. */
export interface PluginInfo {
  name: string
  version: string
  path: string
  /** Version of the interface that it was built with. */
  abi: string
  /** Names of the collective algorithms that it brought. */
  algorithms: string[]
  /** Names of the operators that it brought: 'ns::op' is called as ops.ns.op(…). */
  operators: string[]
}

const describe = ([name, version, path, abi, algorithms, operators]: NativePlugin): PluginInfo => ({
  ...{ name, version, path, abi, algorithms, operators },
})

/** A name without a folder is one of weft's own plugins, which lie beside the addon. */
function pathOf(plugin: string | URL): string {
  if (plugin instanceof URL) return fileURLToPath(plugin)
  if (plugin.includes('/') || plugin.includes('\\')) return plugin
  const own = join(dirname(findAddon() ?? ''), `${plugin}.so`)
  if (existsSync(own)) return own
  throw new PluginError(
    `this build of weft has no plugin ${plugin} (${own}): weft's plugins are built with device code ` +
      "(WEFT_CUDA=on); give a path such as './my-plugin.so' for one of your own",
  )
}

/** Loads a plugin; see Fabric.loadPlugin. */
export const loadPlugin = (plugin: string | URL): PluginInfo =>
  describe(native.loadPlugin(pathOf(plugin)))

/** The plugins of the process. */
export const plugins = (): PluginInfo[] => native.plugins().map(describe)
