// Plugins from TypeScript: loaded, chosen, listed, unloaded; and what cannot be loaded.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, expect } from 'vitest'
import { openFabric, PluginError, Trainer, tensor } from 'weft'
import { compilePlugin, fixture, hostPluginTest as test } from './compiled-plugin.js'

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'weft-plugin-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('a plugin is loaded, sums for groups, is listed and unloaded', async () => {
  const fabric = await openFabric({ devices: 'host:0-2' })
  using group = fabric.group()
  const taken = () => fabric.snapshot().algorithms.find(({ name }) => name === 'rank-sum')?.calls
  const library = compilePlugin(folder, fixture('rank_sum.c'))
  const info = fabric.loadPlugin(library)
  expect(info).toMatchObject({ name: 'rank-sum', version: '1.0.0', abi: '1.3' })
  expect(info.algorithms).toEqual(['rank-sum'])
  expect(fabric.plugins()).toEqual([info])
  const reduce = async () => {
    const parts = group.devices.map((device, r) => tensor([r + 1, 10], { device }))
    await group.allReduce(parts)
    expect(await parts[2]!.toArray()).toEqual([6, 30])
  }
  await reduce()
  expect(taken()).toBe(1)
  expect(() => fabric.loadPlugin(library)).toThrow(/rank-sum is loaded already/)
  fabric.unloadPlugin('rank-sum')
  expect(fabric.plugins()).toEqual([])
  await reduce()
  expect(taken()).toBe(1)
  expect(() => fabric.unloadPlugin('rank-sum')).toThrow(PluginError)
})

test('openFabric and a trainer load the plugins that the process lacks', async () => {
  const library = compilePlugin(folder, fixture('rank_sum.c'), { name: 'asked_for' })
  const fabric = await openFabric({ devices: 'host:0-1', plugins: [library] })
  const again = await openFabric({ devices: 'host:0', plugins: [pathToFileURL(library)] })
  expect(again.plugins().map(({ name }) => name)).toEqual(['rank-sum'])
  fabric.unloadPlugin('rank-sum')
  const trainer = new Trainer({
    task: new URL('../tasks/regression.mjs', import.meta.url),
    ...{ devices: 'host:0-1', steps: 3, run: false, plugins: [library] },
  })
  expect((await trainer.fit()).replicasEqual).toBe(true)
  expect(fabric.plugins().map(({ path }) => path)).toEqual([library])
  fabric.unloadPlugin('rank-sum')
  await expect(openFabric({ devices: 'host:0', plugins: ['./none.so'] })).rejects.toThrow(
    PluginError,
  )
})

test('what cannot be loaded is a PluginError that says why', async () => {
  const fabric = await openFabric({ devices: 'host:0-1' })
  expect(() => fabric.loadPlugin(join(folder, 'none.so'))).toThrow(PluginError)
  expect(() => fabric.loadPlugin(join(folder, 'none.so'))).toThrow(/No such file/)
  expect(() => fabric.loadPlugin(file('package.json'))).toThrow(/package\.json/)
  expect(() => fabric.loadPlugin('carrier-pigeon')).toThrow(/no plugin carrier-pigeon/)
})
