// Operators of plugins are the process's: a worker thread calls what the main thread loaded, also while it
// is unloaded and loaded again.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, expect } from 'vitest'
import { openFabric } from 'weft'
import { compilePlugin, fixture, hostPluginTest as test } from './compiled-plugin.js'

const folder = mkdtempSync(join(tmpdir(), 'weft-plugin-workers-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** On each message it makes so many calls and says how they ended. */
const program = `
import { parentPort } from 'node:worker_threads'
const { ops, PluginError, tensor } = await import(${JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href)})
const a = tensor([1, 2], { device: 'host:1' })
parentPort.on('message', async (calls) => {
  const ended = { right: 0, refused: 0, wrong: [] }
  for (let i = 0; i < calls; i++) {
    try {
      const made = ops.demo.scaled_add(a, a, { alpha: 3 })
      const text = String(await made.toArray())
      if (text === '4,8') ended.right++
      else ended.wrong.push(text)
      made.dispose()
    } catch (error) {
      if (error instanceof PluginError) ended.refused++
      else ended.wrong.push(String(error))
    }
  }
  parentPort.postMessage(ended)
})
parentPort.postMessage('ready')
`

test('a worker calls what the main thread loaded, unloads and loads again', async () => {
  const fabric = await openFabric({ devices: 'host:0-1' })
  const library = compilePlugin(folder, fixture('scaled_add.c'))
  const url = new URL(`data:text/javascript,${encodeURIComponent(program)}`)
  const worker = new Worker(url)
  const failed = once(worker, 'error').then(([error]) => Promise.reject(error))
  const next = async () => (await Promise.race([once(worker, 'message'), failed]))[0]
  const ask = (calls: number) => {
    worker.postMessage(calls)
    return next()
  }
  try {
    expect(await next()).toBe('ready')
    expect(await ask(3)).toEqual({ right: 0, refused: 3, wrong: [] })
    fabric.loadPlugin(library)
    expect(await ask(3)).toEqual({ right: 3, refused: 0, wrong: [] })
    const answer = ask(500)
    for (let round = 0; round < 200; round++) {
      fabric.unloadPlugin('scaled-add')
      fabric.loadPlugin(library)
    }
    const { right, refused, wrong } = await answer
    expect(wrong).toEqual([])
    expect(right + refused).toBe(500)
    expect(await ask(3)).toEqual({ right: 3, refused: 0, wrong: [] })
    fabric.unloadPlugin('scaled-add')
  } finally {
    await worker.terminate()
  }
})
