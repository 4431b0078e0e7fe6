// Finding, bundling and importing task modules.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { UsageError } from '../../src/native/errors.js'
import { findTaskFile, locateTask, packageRoot } from '../../src/train/module-loader.js'
import { defineTask, isTask, type TaskDefinition, taskOf } from '../../src/train/task.js'

let folder: string
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'weft-loader-')))
  writeFileSync(join(folder, 'package.json'), '{"name":"some-package","type":"module"}')
})
afterEach(() => rmSync(folder, { recursive: true }))

const put = (name: string, text: string) => {
  const path = join(folder, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, text)
  return path
}

describe('findTaskFile', () => {
  it('takes paths and file URLs, and completes the extension', () => {
    const path = put('task.mjs', 'export default 1')
    expect(findTaskFile(path)).toBe(path)
    expect(findTaskFile(pathToFileURL(path))).toBe(path)
    expect(findTaskFile(pathToFileURL(path).href)).toBe(path)
    expect(findTaskFile('./task.mjs', folder)).toBe(path)
    expect(findTaskFile('task', folder)).toBe(path)
  })

  it('tells what it looked for', () => {
    expect(() => findTaskFile('missing.ts', folder)).toThrow(UsageError)
    expect(() => findTaskFile('missing.ts', folder)).toThrow(join(folder, 'missing.ts'))
    expect(() => findTaskFile('missing', folder)).toThrow(join(folder, 'missing.mjs'))
    expect(() => findTaskFile(folder)).toThrow(/is a folder/)
    expect(() => findTaskFile(new URL('https://example.org/task.js'))).toThrow(/file: URL/)
  })
})

describe('locateTask', () => {
  it('leaves JavaScript where it is', async () => {
    const path = put('task.js', 'export default 1')
    expect(await locateTask(path)).toEqual({ source: path, url: pathToFileURL(path).href })
  })

  it('bundles TypeScript with its relative imports below the package root', async () => {
    put('tasks/part.ts', 'export const here: string = import.meta.url')
    const path = put(
      'tasks/task.ts',
      "import { here } from './part.js'\nexport const a = here\nexport const b = import.meta.url",
    )
    expect(packageRoot(path)).toBe(folder)
    const { source, url } = await locateTask(path)
    expect(source).toBe(path)
    expect(url.startsWith(pathToFileURL(join(folder, '.weft', 'cache')).href)).toBe(true)
    const module = await import(/* @vite-ignore */ url)
    expect(module.a).toBe(pathToFileURL(join(folder, 'tasks', 'part.ts')).href)
    expect(module.b).toBe(pathToFileURL(path).href)
  })

  it('leaves import.meta what it is in each file, and strings alone', async () => {
    put('tasks/data.txt', 'here')
    put(
      'tasks/deep/part.ts',
      'export const meta = import.meta\nexport const { dirname } = import.meta',
    )
    const path = put(
      'tasks/task.ts',
      [
        '#!/usr/bin/env node',
        "export { meta as part, dirname as partFolder } from './deep/part.js'",
        'export const { url, filename, dirname } = import.meta',
        "export const text = 'import.meta.url', template = `import.meta.dirname is ${import.meta.dirname}`",
        '/* import.meta.url */ export const pattern = /import.meta.url/.source',
        "export const beside = import.meta.resolve('./data.txt')",
        "export const other = import.meta.resolve('other')",
      ].join('\n'),
    )
    put('node_modules/other/package.json', '{"name":"other","type":"module","main":"index.js"}')
    put('node_modules/other/index.js', '')
    const { url } = await locateTask(path)
    const program = `console.log(JSON.stringify(await import(${JSON.stringify(url)})))`
    const args = ['--input-type=module', '-e', program]
    const module = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
    expect(module).toMatchObject({
      url: pathToFileURL(path).href,
      filename: path,
      dirname: join(folder, 'tasks'),
      text: 'import.meta.url',
      template: `import.meta.dirname is ${join(folder, 'tasks')}`,
      pattern: 'import.meta.url',
      beside: pathToFileURL(join(folder, 'tasks/data.txt')).href,
      other: pathToFileURL(join(folder, 'node_modules/other/index.js')).href,
      part: { filename: join(folder, 'tasks/deep/part.ts'), dirname: join(folder, 'tasks/deep') },
      partFolder: join(folder, 'tasks/deep'),
    })
  })

  it('has a source map that leads to the file that was written', async () => {
    const path = put(
      'tasks/task.ts',
      'type A = number\n\nexport const fail = () => { throw new Error("x") }',
    )
    const { url } = await locateTask(path)
    const program = `import(${JSON.stringify(url)}).then(m => m.fail()).catch(e => console.log(e.stack))`
    const args = ['--enable-source-maps', '--input-type=module', '-e', program]
    const stack = execFileSync(process.execPath, args, { encoding: 'utf8' })
    expect(stack).toContain(`${path}:3:`)
  })

  it('makes one bundle a content', async () => {
    const path = put('task.ts', 'export const a: number = 1')
    const first = await locateTask(path)
    expect(await locateTask(path)).toEqual(first)
    put('task.ts', 'export const a: number = 2')
    expect((await locateTask(path)).url).not.toBe(first.url)
    expect(readdirSync(join(folder, '.weft', 'cache'))).toHaveLength(2)
  })

  it('leaves packages outside the bundle', async () => {
    put('node_modules/other/package.json', '{"name":"other","type":"module","main":"index.js"}')
    put('node_modules/other/index.js', 'export const value = 41')
    const path = put('task.ts', "import { value } from 'other'\nexport const a: number = value + 1")
    const { url } = await locateTask(path)
    put('node_modules/other/index.js', 'export const value = 1')
    expect((await import(/* @vite-ignore */ url)).a).toBe(2)
  })

  it('names the file of a syntax error, and refuses other kinds of files', async () => {
    const path = put('task.ts', 'export const = 3')
    await expect(locateTask(path)).rejects.toThrow(UsageError)
    await expect(locateTask(path)).rejects.toThrow(path)
    await expect(locateTask(put('task.json', '{}'))).rejects.toThrow(/must end in one of/)
  })
})

const parts = {
  name: 'tiny',
  model: () => ({}),
  loss: () => ({}),
  data: () => [],
  optimizer: () => ({}),
} as unknown as TaskDefinition

describe('defineTask and taskOf', () => {
  it('marks a complete task', () => {
    const task = defineTask(parts)
    expect(isTask(task)).toBe(true)
    expect(isTask(parts)).toBe(false)
    expect(taskOf({ default: task }, 'a.js')).toBe(task)
    expect(taskOf({ task }, 'a.js')).toBe(task)
  })

  it.each(['model', 'loss', 'data', 'optimizer', 'evaluate', 'schedule', 'finish'])(
    'refuses a task whose %s is not a function',
    (part) => {
      const wrong = { ...parts, [part]: 3 } as unknown as TaskDefinition
      expect(() => defineTask(wrong)).toThrow(new RegExp(`${part} must be a function`))
    },
  )

  it('refuses a task without a name', () => {
    expect(() => defineTask({ ...parts, name: '' })).toThrow(/name/)
  })

  it('tells which exports it found instead of a task', () => {
    expect(() => taskOf({}, 'a.js')).toThrow(/a\.js exports no task.*exports nothing/)
    expect(() => taskOf({ default: parts, other: 1 }, 'a.js')).toThrow(/default, other/)
  })
})
