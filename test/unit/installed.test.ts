// Set-up where weft was installed as a package: nothing needs the checkout's lockfile, packages may lie
// further out, and the published package.json holds what a user needs.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { buildTypeScript, installPackages } from '../../scripts/build/build-steps.mjs'
import {
  isInstalled,
  missingPackage,
  neededToBuild,
  packageFolder,
} from '../../scripts/build/installed.mjs'
import { Stamps } from '../../scripts/build/stamps.mjs'
import { publishedManifest, publishedName } from '../../scripts/package/package.mjs'
import { platforms } from '../../scripts/package/platform-package.mjs'
import { platformPackages } from '../../src/native/prebuilt.js'

let project = ''
let root = ''
const context = () => ({ root, stamps: new Stamps(join(root, '.weft/stamps.json')) })
const put = (folder: string, name: string) => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name }))
}

beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), 'weft-installed-'))
  root = join(project, 'node_modules/weft')
  put(root, publishedName)
  for (const name of ['node-addon-api', 'node-api-headers']) {
    put(join(project, 'node_modules', name), name)
  }
  // Another version of it lies further out, so npm put this one inside.
  put(join(root, 'node_modules/cmake-js'), 'cmake-js')
  mkdirSync(join(root, 'dist/cli'), { recursive: true })
  writeFileSync(join(root, 'dist/cli/main.js'), '')
})
afterEach(() => rmSync(project, { recursive: true, force: true }))

test('neither packages nor TypeScript are due, without a lockfile', () => {
  expect(isInstalled(root)).toBe(true)
  expect(installPackages.due(context())).toBe(false)
  expect(buildTypeScript.due(context())).toBe(false)
})

test('packages are found inside and further out', () => {
  expect(packageFolder(root, 'cmake-js')).toBe(join(root, 'node_modules/cmake-js'))
  expect(packageFolder(root, 'node-addon-api')).toBe(join(project, 'node_modules/node-addon-api'))
  expect(missingPackage(root)).toBeNull()
})

test('a package that is missing is named, with what to do; npm ci is not run', async () => {
  rmSync(join(project, 'node_modules/node-addon-api'), { recursive: true })
  expect(installPackages.due(context())).toBe(true)
  const { error } = (await installPackages.run(context())) as { error?: string }
  expect(error).toMatch(
    /node-addon-api is missing.*npm install --save-dev cmake-js@.* node-addon-api@/,
  )
})

test('a package without its compiled files says so', async () => {
  rmSync(join(root, 'dist'), { recursive: true })
  expect(buildTypeScript.due(context())).toBe(true)
  const { error } = (await buildTypeScript.run(context())) as { error?: string }
  expect(error).toMatch(/dist\/ is not in the installed package/)
})

test('the checkout is none, and what is published has a name of its own and may be published', () => {
  const checkout = new URL('../../', import.meta.url).pathname
  expect(isInstalled(checkout)).toBe(false)
  const manifest = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8'))
  expect(manifest).toMatchObject({ name: 'weft', private: true })
  const published = publishedManifest(manifest, [])
  expect(published).toMatchObject({
    name: '@weft-runtime/weft',
    dependencies: manifest.dependencies,
  })
  expect(published).not.toHaveProperty('private')
  expect(published).not.toHaveProperty('devDependencies')
  expect(Object.keys(published.scripts)).toEqual(['build'])
  for (const name of [...neededToBuild, 'esbuild', 'typescript']) {
    expect(published.dependencies).not.toHaveProperty(name)
  }
  for (const name of [...neededToBuild, 'esbuild']) {
    expect(published.peerDependenciesMeta[name]).toEqual({ optional: true })
    expect(published.peerDependencies).toHaveProperty(name)
  }
})

test('platform packages are optional dependencies of the same version, and those that the loader looks for', () => {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const names = platformPackages('linux', 'x64').sort()
  expect(Object.keys(platforms).sort()).toEqual(names)
  expect(publishedManifest(manifest, names).optionalDependencies).toEqual(
    Object.fromEntries(names.map((name) => [name, manifest.version])),
  )
  // One that is not published would break npm ci.
  expect(publishedManifest(manifest, []).optionalDependencies).toEqual({})
})
