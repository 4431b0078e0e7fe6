// Does weft lie in a checkout, or was it installed as a package? A package has no lockfile and no TypeScript
// configuration: npm put its packages beside it, and its dist/ came compiled. Set-up asks here.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { readJson } from '../children.mjs'

/** Was what lies at `root` installed as a package? */
export const isInstalled = (root) => !existsSync(join(root, 'tsconfig.json'))

/** Folder of package `name` as files at `root` would find it, there or further out; `null` without one. */
export function packageFolder(root, name) {
  const folders = createRequire(join(root, 'package.json')).resolve.paths(name) ?? []
  const found = folders.find((folder) => existsSync(join(folder, name, 'package.json')))
  return found ? join(found, name) : null
}

/** Packages that building the addon needs, and running weft does not: optional peers of it. */
export const neededToBuild = ['cmake-js', 'node-addon-api', 'node-api-headers']

/** What to type where one of them is missing: the versions that the package at `root` was made with. */
export function howToInstall(root) {
  const { peerDependencies = {} } = readJson(join(root, 'package.json')) ?? {}
  const wanted = neededToBuild.map((name) => `${name}@${peerDependencies[name] ?? 'latest'}`)
  return `npm install --save-dev ${wanted.join(' ')}`
}

/** The first package that building the addon lacks, or `null`. */
export const missingPackage = (root) =>
  neededToBuild.find((name) => packageFolder(root, name) === null) ?? null
