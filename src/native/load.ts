// Finds and loads the addon. Importing this file loads nothing: addon.ts does, and `weft doctor`
// calls findAddon() to explain what is there.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { DeviceError } from './errors.js'
import type { Addon } from './types.js'

/** The package's root folder, with a closing slash. */
export const packageRoot = fileURLToPath(new URL('../../', import.meta.url))

/** Version of this package. */
export function packageVersion(): string {
  const manifest = readFileSync(`${packageRoot}package.json`, 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

/** Where the addon may lie, best first: WEFT_ADDON, then the local build. */
export function addonCandidates(): string[] {
  const named = process.env.WEFT_ADDON
  return [...(named ? [named] : []), `${packageRoot}build/Release/weft.node`]
}

/** Path of the addon that loadAddon() would load, undefined when there is none. */
export function findAddon(): string | undefined {
  return addonCandidates().find((path) => existsSync(path))
}

/** Loads the addon; throws DeviceError telling where it looked, what failed and what to do. */
export function loadAddon(): Addon {
  const path = findAddon()
  if (path === undefined) {
    throw new DeviceError(
      `the native addon was not found; looked at ${addonCandidates().join(', ')}. ` +
        `Build it with "npm run build" in ${packageRoot}; "npm start" does everything on a fresh machine.`,
      { candidates: addonCandidates() },
    )
  }
  try {
    return createRequire(import.meta.url)(path) as Addon
  } catch (error) {
    throw new DeviceError(`the native addon at ${path} did not load: ${explain(error)}`, { path })
  }
}

function explain(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  if (/GLIBCXX|GLIBC_/.test(message)) {
    return `${message}. It was built against newer system libraries; rebuild it here with "npm run build".`
  }
  if (/cannot open shared object file/.test(message)) {
    return `${message}. A library beside the addon is missing; rebuild with "npm run build".`
  }
  if (/invalid ELF header|wrong ELF class|architecture/.test(message)) {
    return `${message}. It was built for another processor (this is ${process.arch}); rebuild it here.`
  }
  return `${message} (Node ${process.version}, ${process.platform}-${process.arch})`
}
