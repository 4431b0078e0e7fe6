// Plugins: libraries that bring collective algorithms and operators over weft's C interface (docs/plugins.md). They are the
// process's, whatever fabric or worker loads them. Fabric's methods call these.
import { realpathSync } from 'node:fs'
import { native } from '../native/addon.js'
import type { NativePlugin } from '../native/types.js'
import type { AddedOperators } from './event-kinds.js'
import { pluginPath } from './plugin-path.js'

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

/** Loads a plugin; see Fabric.loadPlugin. */
export const loadPlugin = (plugin: string | URL): PluginInfo =>
  describe(native.loadPlugin(pluginPath(plugin)))

/** Loads those that the process has not, each told apart by its file. */
export function loadMissing(list: readonly (string | URL)[]): void {
  for (const plugin of list) {
    const path = realpath(pluginPath(plugin))
    if (!plugins().some((loaded) => realpath(loaded.path) === path)) native.loadPlugin(path)
  }
}

/** The file itself; what is none is told by the load. */
function realpath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/** The plugins of the process. */
export const plugins = (): PluginInfo[] => native.plugins().map(describe)

/** Names of the operators that plugins ever brought to the process, as events name them, by id. */
export const operatorNames = (): AddedOperators => new Map(native.pluginOperatorNames())
