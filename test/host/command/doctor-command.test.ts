// `weft doctor --plugin` as a user runs it: what a plugin brings, and a wrong one named with its PluginError.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect } from 'vitest'
import {
  compilePlugin,
  compileText,
  fixture,
  compilingTest as test,
} from '../fabric/compiled-plugin.js'

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'weft-doctor-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function doctor(...plugins: string[]) {
  const args = [file('dist/cli/main.js'), 'doctor', '--json', '--plugin', ...plugins]
  const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 })
  return JSON.parse(stdout)
}

test('a plugin that loads stands there with interface, algorithms and operators', () => {
  const operators = compilePlugin(folder, fixture('scaled_add.c'), { name: 'operators' })
  const algorithms = compilePlugin(folder, fixture('rank_sum.c'), { name: 'algorithms' })
  const { plugins, findings } = doctor(operators, algorithms)
  const named = plugins.filter(({ plugin }: { plugin: string }) => plugin.startsWith(folder))
  expect(named).toEqual([
    expect.objectContaining({
      ...{ plugin: operators, name: 'scaled-add', version: '1.0.0', abi: '1.1' },
      ...{ algorithms: [], operators: ['demo::scaled_add'] },
    }),
    expect.objectContaining({ name: 'rank-sum', algorithms: ['rank-sum'], operators: [] }),
  ])
  expect(findings).toContainEqual({
    ...{ name: 'plugin', state: 'ok', remedy: '' },
    detail: `scaled-add 1.0.0, interface 1.1, no algorithms, operators demo::scaled_add, ${operators}`,
  })
})

test('plugins that do not load are named with their error, and the others are still looked at', () => {
  const good = compilePlugin(folder, fixture('scaled_add.c'))
  const text = `#include <stdlib.h>
__attribute__((constructor)) static void crash(void) { abort(); }\n`
  const crash = compileText(folder, 'crash', text)
  const quiet = compileText(folder, 'quiet', text.replace('abort()', '_Exit(0)'))
  const { ok, plugins, findings } = doctor('./none.so', crash, quiet, 'carrier-pigeon', good, good)
  expect(ok).toBe(false)
  const answer = (plugin: string) =>
    plugins.filter((each: { plugin: string }) => each.plugin === plugin)
  expect(answer('./none.so')[0].error).toMatch(/^PluginError: .*No such file/)
  expect(answer(crash)[0].error).toBe('loading it ended the process by SIGABRT')
  expect(answer(quiet)[0].error).toBe('loading it ended the process without an error')
  expect(answer('carrier-pigeon')[0].error).toMatch(/^PluginError: .*no plugin carrier-pigeon/)
  const [first, second] = answer(good)
  expect(first.error).toBeUndefined()
  expect(second.error).toMatch(/^PluginError: .*scaled-add is loaded already/)
  const missing = findings.filter(
    (each: { name: string; state: string }) => each.name === 'plugin' && each.state === 'missing',
  )
  expect(missing).toHaveLength(5)
  for (const each of missing) expect(each.remedy).toMatch(/plugin_abi\.h/)
})
