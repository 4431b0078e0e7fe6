// Plugins in C that tests compile: the fixtures of the C++ tests, or a source of the test's own.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'vitest'
import { hostOnly } from '../device.js'

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

/** Source of test/cpp/fixtures/plugins. */
export const fixture = (name: string) => file(`test/cpp/fixtures/plugins/${name}`)

const lack = !existsSync(fixture('scaled_add.c'))
  ? 'their sources are not here'
  : spawnSync('cc', ['--version']).status === 0
    ? undefined
    : 'there is no C compiler'

/** Can plugins be compiled? Not in a bundle, and not where there is no compiler. */
export const canCompile = lack === undefined

/** test() that compiles plugins; skipped with the reason where that cannot be. */
export const compilingTest: (name: string, body: () => void | Promise<void>) => void =
  lack === undefined
    ? test
    : (name) => test(name, ({ skip }) => skip(`plugins cannot be compiled: ${lack}`))

/** The same for plugins that compute, which those of the fixtures do on host devices. */
export const hostPluginTest = canCompile
  ? hostOnly('the plugin computes on host devices')
  : compilingTest

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
