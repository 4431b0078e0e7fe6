// Where plugins lie: weft's own beside the addon, others where the caller says. Loads nothing: `weft doctor`
// and plugins.ts call it.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PluginError } from '../native/errors.js'
import { findAddon } from '../native/load.js'

/** Names of weft's own plugins. */
export const ownPlugins = ['ringallreduce', 'swiglu'] as const

const ownPath = (name: string): string => join(dirname(findAddon() ?? ''), `${name}.so`)

/** The file of one of weft's own plugins; undefined where this build has none, as without device code. */
export function findOwnPlugin(name: string): string | undefined {
  return existsSync(ownPath(name)) ? ownPath(name) : undefined
}

/** A name without a folder is one of weft's own plugins. */
export function pluginPath(plugin: string | URL): string {
  if (plugin instanceof URL) return fileURLToPath(plugin)
  if (plugin.includes('/') || plugin.includes('\\')) return plugin
  const own = findOwnPlugin(plugin)
  if (own !== undefined) return own
  throw new PluginError(
    `this build of weft has no plugin ${plugin} (${ownPath(plugin)}): weft's plugins are built with device code ` +
      "(WEFT_CUDA=on); give a path such as './my-plugin.so' for one of your own",
  )
}
