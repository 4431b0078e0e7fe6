// Finds and loads the addon: one that was built here, else the one of a platform package (prebuilt.ts). Importing this
// file loads nothing: addon.ts does, and `weft doctor` calls findAddon() to explain what is there.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { DeviceError } from './errors.js'
import { platformPackages, prebuiltAddons, unfit } from './prebuilt.js'
import type { Addon } from './types.js'

/** The package's root folder, with a closing slash. */
export const packageRoot = fileURLToPath(new URL('../../', import.meta.url))

/** Version of this package. */
export function packageVersion(): string {
  const manifest = readFileSync(`${packageRoot}package.json`, 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

/** Where the addon may lie, best first: WEFT_ADDON, the local build, then what npm brought. */
export function addonCandidates(): string[] {
  const named = process.env.WEFT_ADDON
  const prebuilt = prebuiltAddons().map(({ path }) => path)
  return [...(named ? [named] : []), `${packageRoot}build/Release/weft.node`, ...prebuilt]
}

/** Path of the addon that loadAddon() would load, undefined when there is none. */
export function findAddon(): string | undefined {
  return addonCandidates().find((path) => existsSync(path))
}

/** What to do where no addon is found. */
export function howToGetAddon(): string {
  const names = platformPackages().reverse().join(' or ')
  return (
    `npm brings it as ${names} on Linux with glibc, unless optional dependencies are left out; ` +
    `"npm run build" in ${packageRoot} makes it from source`
  )
}

/** Loads the addon; throws DeviceError telling where it looked, what failed and what to do. */
export function loadAddon(): Addon {
  const path = findAddon()
  if (path === undefined) {
    throw new DeviceError(
      `the native addon was not found; looked at ${addonCandidates().join(', ')}. ${howToGetAddon()}.`,
      { candidates: addonCandidates() },
    )
  }
  const prebuilt = prebuiltAddons().find((each) => each.path === path)
  const reason = prebuilt && unfit(prebuilt, packageVersion())
  if (reason !== undefined) throw new DeviceError(reason, { path })
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
