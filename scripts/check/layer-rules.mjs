// The arrows between layers (docs/architecture.md) as rules over one file's path and text. A rule answers
// with what is wrong, one sentence a finding. scripts/check/check-layers.mjs runs them; tests feed examples.
import { posix } from 'node:path'

const lineLimit = 400
const nodeHeaders = /^(node_api|js_native_api\w*|napi|napi-inl|uv|v8|node)\.h$/
const cudaHeaders =
  /^(cuda\w*|cu[a-z]+|nvml|nccl|nvrtc|nvtx\w*|device_launch_parameters)\.(h|hpp|cuh)$/
const cudaFolders = /^(cute|cutlass|cub|thrust|cuda|cooperative_groups)(\/|\.h$)/
const vagueNames = /^(utils?|common|misc|helpers?)$/

/** Headers that a C++ file includes: `{ line, header, quoted }`. */
export function includesOf(text) {
  const found = []
  for (const [i, line] of text.split('\n').entries()) {
    const match = /^\s*#\s*include\s*([<"])([^>"]+)[>"]/.exec(line)
    if (match) found.push({ line: i + 1, header: match[2], quoted: match[1] === '"' })
  }
  return found
}

/** Module names that a TypeScript or JavaScript file imports, in any of the forms. */
export function importsOf(text) {
  const found = []
  const forms =
    /(?:\bfrom\s+|^\s*import\s+|\bimport\s*\(\s*|\brequire\s*\(\s*|\bnew URL\s*\(\s*)(['"`])([^'"`\n]+)\1/
  for (const [i, line] of text.split('\n').entries()) {
    if (/^\s*(\/\/|\/?\*)/.test(line)) continue
    for (const match of line.matchAll(new RegExp(forms, 'gm'))) {
      found.push({ line: i + 1, name: match[2] })
    }
  }
  return found
}

const isCpp = (path) => /\.(cc|h|cu|cuh|cpp|hpp)$/.test(path)
const isScript = (path) => /\.(ts|mts|mjs|js)$/.test(path)
const usesCuda = (header) => cudaHeaders.test(header) || cudaFolders.test(header)

/** The folders of native/, by which its headers are included. */
export const nativeFolders = [
  'autograd',
  'bench',
  'binding',
  'core',
  'cpu',
  'cuda',
  'dispatch',
  'gemm',
  'iter',
  'native',
  'ops',
  'optim',
  'graph',
  'parallel',
  'plugin',
  'random',
]

function fabricRule(path, text) {
  if (!path.startsWith('fabric/') || !isCpp(path)) return []
  return includesOf(text).flatMap(({ line, header, quoted }) => {
    const folder = header.split('/')[0]
    if (nodeHeaders.test(header))
      return [`${path}:${line}: fabric knows no Node, but includes ${header}`]
    // A driver has a folder of its own, which may be named like one of native's.
    const own = path.startsWith(`fabric/src/${folder}/`) && header.includes('/')
    if (
      quoted &&
      header.includes('/') &&
      nativeFolders.includes(folder) &&
      !own &&
      folder !== 'cuda'
    ) {
      return [`${path}:${line}: fabric includes ${header} of native/`]
    }
    // Headers named cuda_* are the driver's contract with the kernels of native/cuda/.
    const inDriver = /^fabric\/(src\/cuda|include\/fabric\/cuda_)/.test(path)
    if (usesCuda(header) && !inDriver && !quoted) {
      return [`${path}:${line}: only fabric/src/cuda/ talks to CUDA, but this includes ${header}`]
    }
    return []
  })
}

function nativeRule(path, text) {
  if (!path.startsWith('native/') || !isCpp(path)) return []
  const inBinding = path.startsWith('native/binding/')
  return includesOf(text).flatMap(({ line, header, quoted }) => {
    if (nodeHeaders.test(header) && !inBinding) {
      return [`${path}:${line}: only native/binding/ knows Node, but this includes ${header}`]
    }
    if (header.startsWith('binding/') && !inBinding) {
      return [`${path}:${line}: native/ below the binding includes ${header}`]
    }
    if (usesCuda(header) && !quoted && !path.startsWith('native/cuda/')) {
      return [`${path}:${line}: only native/cuda/ launches kernels, but this includes ${header}`]
    }
    return []
  })
}

function pluginRule(path, text) {
  if (!path.startsWith('plugins/') || !isCpp(path)) return []
  return includesOf(text).flatMap(({ line, header, quoted }) => {
    const folder = header.split('/')[0]
    const ours =
      folder === 'fabric' || (quoted && nativeFolders.includes(folder) && header.includes('/'))
    if (!ours || header === 'fabric/plugin_abi.h') return []
    return [`${path}:${line}: a plugin sees only fabric/plugin_abi.h, but includes ${header}`]
  })
}

/** Where a relative import leads, from the root; `null` for packages. */
function target(path, name) {
  if (!name.startsWith('.')) return null
  return posix.normalize(posix.join(posix.dirname(path), name))
}

function sourceRule(path, text) {
  if (!path.startsWith('src/') || !isScript(path)) return []
  return importsOf(text).flatMap(({ line, name }) => {
    const to = target(path, name)
    if (!path.startsWith('src/native/') && (name.endsWith('.node') || /^build\//.test(to ?? ''))) {
      return [`${path}:${line}: only src/native/ loads the addon, but this imports ${name}`]
    }
    if (name === 'weft') return [`${path}:${line}: src/ imports its own files, not 'weft'`]
    if (to && /^(examples|bench|test|native|fabric|plugins)\//.test(to)) {
      return [`${path}:${line}: src/ imports ${to}, which is not below it`]
    }
    return []
  })
}

function exampleRule(path, text) {
  if (!path.startsWith('examples/') || !isScript(path)) return []
  return importsOf(text).flatMap(({ line, name }) => {
    const to = target(path, name)
    if (name.startsWith('weft/') || (to && !to.startsWith('examples/'))) {
      return [`${path}:${line}: an example imports only 'weft' and packages, not ${name}`]
    }
    return []
  })
}

function nameRule(path) {
  if (!isCpp(path) && !isScript(path) && !/\.(py|cmake)$/.test(path)) return []
  const words = posix.basename(path).split(/[-_.]/)
  const vague = words.find((word) => vagueNames.test(word.toLowerCase()))
  return vague ? [`${path}: a file is named after its subject, not '${vague}'`] : []
}

function lengthRule(path, text) {
  if (!isCpp(path) && !isScript(path) && !path.endsWith('.py')) return []
  if (/^\/\/ Generated by /.test(text)) return []
  const lines = text.trimEnd().split('\n').length
  return lines > lineLimit ? [`${path}: ${lines} lines, more than ${lineLimit}`] : []
}

const rules = [fabricRule, nativeRule, pluginRule, sourceRule, exampleRule, nameRule, lengthRule]

/**
 * All findings in one file.
 *
 * @param {string} path from the root of the checkout
 * @param {string} text
 * @returns {string[]}
 */
export function checkFile(path, text) {
  return rules.flatMap((rule) => rule(path, text))
}
