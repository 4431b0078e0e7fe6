// THIRD_PARTY.md of the packages: what a platform package has compiled in, with the licences' whole texts, and what npm
// installs beside the runtime package, by name. A component without a licence text, or a dependency under a licence
// that nobody looked at, stops the packing. Called by package.mjs and platform-package.mjs.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readJson } from '../children.mjs'
import { SetupError } from '../setup.mjs'

/** Licences of npm packages that weft may depend on: each lets programs of any licence use it. */
const permitted = new Set(['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT'])

/** Packages that npm installs for the runtime package, from the lockfile: `{ name, version, license }`, sorted. */
export function runtimeDependencies(lock) {
  const found = []
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '' || entry.dev || entry.devOptional || entry.peer) continue
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
    if (!permitted.has(entry.license)) {
      throw new SetupError(`${name} ${entry.version} has the licence ${entry.license}: look at it`)
    }
    found.push({ name, version: entry.version, license: entry.license })
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** THIRD_PARTY.md of the runtime package: nothing of others lies in it. */
export function runtimeNotice(root) {
  const rows = runtimeDependencies(readJson(join(root, 'package-lock.json'))).map(
    ({ name, version, license }) => `| ${name} | ${version} | ${license} |`,
  )
  return [
    '# Third-party software',
    '',
    'This package holds no code of others. npm installs these beside it, each with its licence in its folder:',
    '',
    '| package | version | licence |',
    '|---|---|---|',
    ...rows,
    '',
    'The platform packages, which hold the compiled addon, have a notice of their own.',
    '',
  ].join('\n')
}

/** The folder of a pip package's licences under `site`, an ignored folder of the checkout. */
function wheelLicence(site, name) {
  const stem = name.replaceAll('-', '_')
  const info = existsSync(site)
    ? readdirSync(site).find((each) => each.startsWith(`${stem}-`) && each.endsWith('.dist-info'))
    : undefined
  if (info === undefined) throw new SetupError(`${name} is not in ${site}, so its licence is not`)
  const folders = [join(site, info, 'licenses'), join(site, info)]
  for (const folder of folders.filter(existsSync)) {
    const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each))
    if (file) return { file: join(folder, file), version: info.slice(stem.length + 1, -10) }
  }
  throw new SetupError(`${name} brings no licence text`)
}

function npmComponent(root, name, licence, what) {
  const folder = join(root, 'node_modules', name)
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each))
  const { version } = readJson(join(folder, 'package.json'))
  return { name, version, licence, what, text: readFileSync(join(folder, file), 'utf8') }
}

function wheelComponent(site, name, licence, what) {
  const { file, version } = wheelLicence(site, name)
  return { name, version, licence, what, text: readFileSync(file, 'utf8') }
}

/** What the files of a platform package are made of, beside weft. */
export function compiledIn(root, { cuda, compiler }) {
  const parts = [
    npmComponent(root, 'node-addon-api', 'MIT', 'headers, compiled into weft.node'),
    npmComponent(root, 'node-api-headers', 'MIT', 'headers, compiled into weft.node'),
    {
      name: 'libstdc++',
      version: compiler,
      licence: 'GPL-3.0-or-later WITH GCC-exception-3.1',
      what: 'linked into weft.node under the GCC Runtime Library Exception',
      text: 'The GNU General Public License 3 and the GCC Runtime Library Exception 3.1: whole under scipy-openblas32, below.',
    },
  ]
  const what = 'libscipy_openblas.so: OpenBLAS, with LAPACK and the GCC runtime in it'
  const licence = 'BSD-3-Clause; GPL-3.0-or-later WITH GCC-exception-3.1'
  parts.push(wheelComponent(join(root, '.weft/python'), 'scipy-openblas32', licence, what))
  if (cuda) {
    const site = join(root, '.weft/cuda')
    const nvidia = 'NVIDIA Software License Agreement, CUDA supplement'
    parts.push(
      wheelComponent(site, 'nvidia-cuda-runtime', nvidia, 'libcudart_static.a, in weft.node'),
      wheelComponent(
        join(root, '.weft/cutlass'),
        'nvidia-cutlass',
        'BSD-3-Clause',
        'headers, compiled into the kernels',
      ),
    )
  }
  return parts
}

/** THIRD_PARTY.md of a platform package. */
export function platformNotice(parts) {
  const rows = parts.map((p) => `| ${p.name} | ${p.version} | ${p.licence} | ${p.what} |`)
  const texts = parts.flatMap((p) => [
    `## ${p.name} ${p.version}`,
    '',
    '```',
    p.text.trim(),
    '```',
    '',
  ])
  return [
    '# Third-party software',
    '',
    'weft itself is under the MIT licence (LICENSE). This package also holds:',
    '',
    '| component | version | licence | what |',
    '|---|---|---|---|',
    ...rows,
    '',
    ...texts,
  ].join('\n')
}
