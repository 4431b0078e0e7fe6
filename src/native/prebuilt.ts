// Addons that npm brought compiled: a platform package (`@weft-runtime/linux-x64`, with device code `…-cuda`) holds
// weft.node and tells in its package.json what that needs. load.ts and `weft doctor` ask here; importing loads nothing.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** What the package.json of a platform package says. */
export interface PlatformManifest {
  name: string
  version: string
  /** How it was built: the oldest C library that it loads on, the processor its host kernels need, its device code. */
  weft: { glibc: string; processor: string; deviceCode: string }
}

/** An addon in a platform package. */
export interface PrebuiltAddon {
  path: string
  manifest: PlatformManifest
}

/** The platform packages that may serve a machine, best first: the one with device code serves host devices too. */
export function platformPackages(
  platform: string = process.platform,
  arch: string = process.arch,
): string[] {
  return [`@weft-runtime/${platform}-${arch}-cuda`, `@weft-runtime/${platform}-${arch}`]
}

/** The prebuilt addons that are installed where `from` (a file or folder of weft) would find them, best first. */
export function prebuiltAddons(from: string = import.meta.url): PrebuiltAddon[] {
  const require = createRequire(from)
  const found: PrebuiltAddon[] = []
  for (const name of platformPackages()) {
    try {
      const file = require.resolve(`${name}/package.json`)
      const manifest = JSON.parse(readFileSync(file, 'utf8')) as PlatformManifest
      found.push({ path: join(dirname(file), 'weft.node'), manifest })
    } catch {
      // Not installed: npm leaves out packages for other machines.
    }
  }
  return found
}

/** The flags of /proc/cpuinfo that x86-64-v3 stands for. */
const x86Version3 = ['avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe']

/**
 * Instructions that an addon for `processor` uses and this machine lacks: using them would end the process. Empty
 * where nothing is missing, or the system does not tell.
 */
export function missingInstructions(processor: string, cpuinfo: string = readCpuinfo()): string[] {
  if (processor !== 'x86-64-v3') return []
  const flags = /^flags\s*:\s*(.*)$/m.exec(cpuinfo)?.[1]?.split(/\s+/)
  if (flags === undefined) return []
  return x86Version3.filter((flag) => !flags.includes(flag))
}

function readCpuinfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8')
  } catch {
    return ''
  }
}

/** Why the addon of a platform package must not be loaded by weft of `version` on this machine, or undefined. */
export function unfit(
  { manifest }: PrebuiltAddon,
  version: string,
  cpuinfo?: string,
): string | undefined {
  if (manifest.version !== version) {
    return (
      `${manifest.name} is ${manifest.version}, but weft is ${version}: install both at one version ` +
      '(npm install without --omit=optional brings the right one)'
    )
  }
  const missing = missingInstructions(manifest.weft.processor, cpuinfo)
  if (missing.length > 0) {
    return (
      `${manifest.name} needs a processor of ${manifest.weft.processor}, but this one lacks ${missing.join(', ')}: ` +
      'build the addon here with "npm run build" in the folder of weft'
    )
  }
  return undefined
}
