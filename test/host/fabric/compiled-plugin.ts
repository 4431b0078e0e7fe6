// Plugins in C that tests compile: the fixtures of the C++ tests, or a source of the test's own.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

/** Source of test/cpp/fixtures/plugins. */
export const fixture = (name: string) => file(`test/cpp/fixtures/plugins/${name}`)

/** Compiles `source` (.c or .cc) to a library in `folder`; its path. */
export function compilePlugin(
  folder: string,
  source: string,
  { name = 'plugin', flags = [] as string[] } = {},
): string {
  const library = join(folder, `${name}.so`)
  const [compiler, standard] = source.endsWith('.cc') ? ['c++', 'c++20'] : ['cc', 'c11']
  const common = [`-std=${standard}`, '-O2', '-Wall', '-Werror', '-shared', '-fPIC']
  const include = ['-I', file('fabric/include'), '-I', file('test/cpp/fixtures/plugins')]
  execFileSync(compiler!, [...common, ...flags, ...include, '-o', library, source], {
    timeout: 60_000,
  })
  return library
}

/** The same for text, which is kept as `<name>.c` in the folder. */
export function compileText(folder: string, name: string, text: string): string {
  const source = join(folder, `${name}.c`)
  writeFileSync(source, text)
  return compilePlugin(folder, source, { name })
}
