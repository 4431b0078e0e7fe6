// Platform packages: which addon is found, which is refused before it is loaded, and what may be packed.
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { versionNeeds } from '../../scripts/package/elf-needs.mjs'
import { platformManifest, requireBuild } from '../../scripts/package/platform-package.mjs'
import { runtimeDependencies } from '../../scripts/package/third-party.mjs'
import {
  missingInstructions,
  platformPackages,
  prebuiltAddons,
  unfit,
} from '../../src/native/prebuilt.js'

let project: string
beforeEach(() => {
  project = realpathSync(mkdtempSync(join(tmpdir(), 'weft-prebuilt-')))
})
afterEach(() => rmSync(project, { recursive: true }))

const facts = { glibc: '2.34', deviceCode: '' }
const own = { version: '0.1.0', engines: { node: '>=20.17' } }

/** Puts a platform package where weft in `project` finds it. */
function install(name: string, version = '0.1.0') {
  const folder = join(project, 'node_modules', name)
  mkdirSync(folder, { recursive: true })
  const known = name.endsWith('-cuda') ? '@weft-runtime/linux-x64-cuda' : '@weft-runtime/linux-x64'
  const manifest = platformManifest(known, { ...own, version }, ['weft.node'], facts)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...manifest, name }))
  return join(folder, 'weft.node')
}

const found = () =>
  prebuiltAddons(pathToFileURL(join(project, 'node_modules/weft/dist/native/prebuilt.js')).href)
const modern = `flags\t\t: fpu avx avx2 bmi1 bmi2 f16c fma abm movbe\n`

describe('the addon that npm brought', () => {
  it('is none without a platform package', () => {
    expect(found()).toEqual([])
  })

  it('is the one with device code where both are', () => {
    const [cuda, host] = platformPackages()
    const plain = install(host!)
    expect(found().map(({ path }) => path)).toEqual([plain])
    const withCode = install(cuda!)
    expect(found().map(({ path }) => path)).toEqual([withCode, plain])
  })

  it('is refused by name where its version is another', () => {
    install(platformPackages()[1]!, '0.0.9')
    const [addon] = found()
    expect(unfit(addon!, '0.1.0', modern)).toMatch(/is 0\.0\.9, but weft is 0\.1\.0/)
    expect(unfit(addon!, '0.0.9', modern)).toBeUndefined()
  })

  it('is refused where the processor lacks its instructions, which would end the process', () => {
    install(platformPackages()[1]!)
    const [addon] = found()
    const old = modern.replace(' avx2', '').replace(' fma', '')
    expect(unfit(addon!, '0.1.0', old)).toMatch(/x86-64-v3, but this one lacks avx2, fma/)
    expect(missingInstructions('x86-64-v3', '')).toEqual([]) // the system does not tell
  })
})

describe('what may be packed', () => {
  it('is a build of what the package promises', () => {
    const host = { deviceCode: '', blas: 'openblas' }
    expect(() => requireBuild('@weft-runtime/linux-x64', host)).not.toThrow()
    expect(() => requireBuild('@weft-runtime/linux-x64-cuda', host)).toThrow(/for nothing/)
    const one = { ...host, deviceCode: '90a' }
    expect(() => requireBuild('@weft-runtime/linux-x64', one)).toThrow(/has it for 90a/)
    expect(() => requireBuild('@weft-runtime/linux-x64-cuda', one)).toThrow(/has it for 90a/)
    expect(() => requireBuild('@weft-runtime/linux-x64-cuda', one, '90a')).not.toThrow()
    expect(() => requireBuild('@weft-runtime/linux-x64', one, '90a')).toThrow(/has it for 90a/)
    const all = { ...host, deviceCode: '90a, 100a, 103a' }
    expect(() => requireBuild('@weft-runtime/linux-x64-cuda', all)).not.toThrow()
    expect(() => requireBuild('@weft-runtime/linux-x64', { ...host, blas: 'plain' })).toThrow(
      /plain loop/,
    )
  })

  it('tells the glibc that it needs, not what it defines', () => {
    const text = [
      "Version definition section '.gnu.version_d' contains 1 entry:",
      '  Rev: 1 Flags: none  Index: 2  Cnt: 1  Name: GLIBCXX_3.4.30',
      "Version needs section '.gnu.version_r' contains 2 entries:",
      '  0x0010:   Name: GLIBC_2.4  Flags: none  Version: 7',
      '  0x0020:   Name: GLIBC_2.34  Flags: none  Version: 6',
      '  0x0030:   Name: GLIBC_2.2.5  Flags: none  Version: 5',
    ].join('\n')
    expect(versionNeeds(text)).toEqual({ glibc: '2.34', libstdcxx: [] })
    const shared = `${text}\n  0x0040:   Name: GLIBCXX_3.4.29  Flags: none  Version: 4`
    expect(versionNeeds(shared).libstdcxx).toEqual(['3.4.29'])
  })

  it('depends on packages under licences that somebody looked at', () => {
    const lock = JSON.parse(
      readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8'),
    )
    const names = runtimeDependencies(lock).map(({ name }) => name)
    expect(names).toContain('piscina')
    expect(names).not.toContain('esbuild')
    lock.packages['node_modules/piscina'].license = 'SSPL-1.0'
    expect(() => runtimeDependencies(lock)).toThrow(/piscina.*SSPL-1\.0/)
  })
})
