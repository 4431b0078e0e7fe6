// Finds a task module and makes it importable by every worker. JavaScript is imported as it is;
// TypeScript is bundled once by the coordinator (esbuild, which users install, packages left outside) into
// <package root>/.weft/cache/<hash>.mjs, where bare imports, 'weft' itself included, still resolve.
import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, extname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Plugin } from 'esbuild'
import { writeAtomically } from '../checkpoint/atomic-write.js'
import { UsageError } from '../native/errors.js'

/** A task module that workers can import. */
export interface TaskModuleLocation {
  /** The file that the user named. */
  source: string
  /** What to import: `source` itself, or its bundle. */
  url: string
}

const javascript = new Set(['.js', '.mjs', '.cjs'])
const typescript = new Set(['.ts', '.mts', '.cts', '.tsx'])

/** The file that `task` names; throws UsageError telling what was looked for. */
export function findTaskFile(task: URL | string, folder = process.cwd()): string {
  if (task instanceof URL && task.protocol !== 'file:') {
    throw new UsageError(`a task must be a file, but ${task.href} is not a file: URL`)
  }
  const text = task instanceof URL ? task.href : task
  const path = text.startsWith('file:') ? fileURLToPath(text) : resolve(folder, text)
  if (existsSync(path)) {
    if (statSync(path).isFile()) return path
    throw new UsageError(`no task module: ${path} is a folder, not a file`, { task: text })
  }
  const tried = [path]
  if (extname(path) === '') {
    for (const extension of [...typescript, ...javascript]) {
      const candidate = path + extension
      if (existsSync(candidate)) return candidate
      tried.push(candidate)
    }
  }
  throw new UsageError(`no task module: looked for ${tried.join(', ')}`, { task: text, tried })
}

/** The nearest folder upwards that holds a package.json; the file's own folder when none does. */
export function packageRoot(file: string): string {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder
    if (dirname(folder) === folder) return dirname(file)
  }
}

/** Finds the task and, when it is TypeScript, bundles it. */
export async function locateTask(task: URL | string): Promise<TaskModuleLocation> {
  const source = findTaskFile(task)
  const extension = extname(source)
  if (javascript.has(extension)) return { source, url: pathToFileURL(source).href }
  if (!typescript.has(extension)) {
    const known = [...javascript, ...typescript].join(' ')
    throw new UsageError(`${source} is not a task module: its name must end in one of ${known}`)
  }
  return { source, url: pathToFileURL(await bundleTask(source)).href }
}

/**
 * Imports the module of a task, for a worker. Node tells no place of a syntax error in JavaScript;
 * where there is one, esbuild is asked for it.
 */
export async function importTask(url: string, source: string): Promise<Record<string, unknown>> {
  try {
    return (await import(url)) as Record<string, unknown>
  } catch (error) {
    if (error instanceof SyntaxError) await requireCompiles(source)
    throw error
  }
}

/** Throws UsageError with the places where `source` and what it imports cannot be compiled. */
async function requireCompiles(source: string): Promise<void> {
  const esbuild = await findEsbuild()
  await esbuild
    ?.build({ ...bundling, entryPoints: [source], outdir: dirname(source) })
    .catch((error: Error) => {
      throw cannotBeCompiled(source, error)
    })
}

/** An optional peer: whoever has TypeScript tasks installs it. Undefined where nobody did. */
async function findEsbuild(): Promise<typeof import('esbuild') | undefined> {
  try {
    return await import('esbuild')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw error
  }
}

function cannotBeCompiled(source: string, error: Error): UsageError {
  return new UsageError(`${source} cannot be compiled: ${error.message}`, { task: source })
}

/** How a task is bundled: what is a package stays outside. */
const bundling = {
  bundle: true,
  write: false,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  logLevel: 'silent',
} as const

/** What esbuild puts for `import.meta`, as an identifier that each file declares for itself. */
const fileMeta = '__weft_file_meta'
/** The bundle's own `import.meta`: a banner is not rewritten. */
const bundleMeta = '__weft_bundle_meta'

/** Declares a file's `import.meta` as if the file had not been moved; one line, so that lines stay. */
function declareMeta(path: string): string {
  const url = JSON.stringify(pathToFileURL(path).href)
  const place = `filename: ${JSON.stringify(path)}, dirname: ${JSON.stringify(dirname(path))}`
  const resolve = `(name) => /^(\\.{0,2}\\/|\\w[\\w+.-]+:)/.test(name) ? new URL(name, ${url}).href : ${bundleMeta}.resolve(name)`
  return `const ${fileMeta} = { url: ${url}, ${place}, resolve: ${resolve} };`
}

/** Each bundled file keeps its own import.meta. esbuild replaces the expression, never text in strings. */
const keepImportMeta: Plugin = {
  name: 'keep-import-meta',
  setup(build) {
    build.onLoad({ filter: /\.[cm]?[jt]sx?$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8')
      if (!text.includes('import.meta')) return undefined
      const loader = extname(path).replace(/^\.[cm]?/, '') as 'ts' | 'js' | 'tsx' | 'jsx'
      return { contents: declareMeta(path) + text.replace(/^#!.*/, ''), loader }
    })
  },
}

async function bundleTask(source: string): Promise<string> {
  const esbuild = await findEsbuild()
  if (esbuild === undefined) {
    throw new UsageError(
      `${source} is TypeScript, which weft bundles with esbuild, and that is not installed: ` +
        'npm install esbuild, or compile the task and name the JavaScript file',
      { task: source, install: 'esbuild' },
    )
  }
  const folder = join(packageRoot(source), '.weft', 'cache')
  const result = await esbuild
    .build({
      ...bundling,
      entryPoints: [source],
      // Where the bundle will lie: its source map names the sources from there.
      outfile: join(folder, 'task.mjs'),
      sourcemap: 'inline',
      define: { 'import.meta': fileMeta },
      banner: { js: `const ${bundleMeta} = import.meta;` },
      plugins: [keepImportMeta],
    })
    .catch((error: Error) => {
      throw cannotBeCompiled(source, error)
    })
  const bundle = result.outputFiles[0]!.contents
  const hash = createHash('sha256').update(bundle).digest('hex').slice(0, 20)
  const target = join(folder, `${hash}.mjs`)
  if (!existsSync(target)) await writeAtomically(target, [bundle])
  return target
}
