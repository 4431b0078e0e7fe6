// README and docs/ hold what they promise: every file and session that they show is run and prints what stands there,
// every npm script and every weft option that they name exists.
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { fits, shownBy } from './blocks.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const read = (page: string) => readFileSync(join(root, page), 'utf8')
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true })
})

/** A project of somebody who installed weft. */
function project(): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-documents-'))
  folders.push(folder)
  mkdirSync(join(folder, 'node_modules/.bin'), { recursive: true })
  symlinkSync(root, join(folder, 'node_modules/weft'))
  symlinkSync(join(root, 'dist/cli/main.js'), join(folder, 'node_modules/.bin/weft'))
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n')
  return folder
}

function run(command: string, folder: string): { status: number | null; text: string } {
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined, NODE_OPTIONS: undefined }
  const options = { cwd: folder, env, encoding: 'utf8', timeout: 100_000 } as const
  const { status, stdout, stderr, signal } = spawnSync('sh', ['-c', `${command} 2>&1`], options)
  return { status, text: `${stdout}${stderr}${signal ?? ''}`.trimEnd() }
}

describe.each(pages)('%s', (page) => {
  const { files, commands } = shownBy(read(page))
  const isInCheckout = (name: string) => existsSync(join(root, name))
  // A page that makes files is read in a project of its own, the others in the checkout.
  const own = files.filter(({ name }) => !isInCheckout(name))
  const folder = own.length > 0 ? project() : root
  for (const { name, text } of own) writeFileSync(join(folder, name), text)

  it('shows files of the checkout as they are', () => {
    for (const { name, text } of files.filter((each) => isInCheckout(each.name))) {
      // The file opens with what it is; the page has said so.
      expect(text, name).toBe(read(name).replace(/^(\/\/.*\n)+/, ''))
    }
  })

  it.each(commands.map((each) => [each.command, each] as const))(
    '%s',
    (_, { line, command, output }) => {
      const { status, text } = run(command, folder)
      const printed = text === '' ? [] : text.split('\n')
      expect(status, `line ${line}: ${text}`).toBe(0)
      if (!fits(output, printed)) expect(printed, `line ${line}`).toEqual(output)
    },
  )
})

it('names npm scripts that exist', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  const named = pages.flatMap((page) =>
    [...read(page).matchAll(/npm run (?:--silent )?([\w:-]+)/g)].map(([, name]) => name!),
  )
  expect(named).toContain('pack:all')
  expect([...new Set(named)].filter((name) => !(name in scripts))).toEqual([])
})

it('names weft commands and options that exist', () => {
  const help = new Map<string, string>()
  const helpOf = (command: string) => {
    const known = help.get(command) ?? run(`node dist/cli/main.js ${command} --help`, root).text
    help.set(command, known)
    return known
  }
  const wrong: string[] = []
  let seen = 0
  for (const page of pages) {
    const named = read(page).matchAll(/(?:`|npx |\.\/|^)weft ([a-z]+)([^`\n]*)/gm)
    for (const [, first, rest] of named) {
      const options = [...rest!.split(/[;#|]/)[0]!.matchAll(/(?<=\s)--[a-z][\w-]*/g)]
      if (options.length === 0) continue
      const inner = /^ ([a-z0-9]+)/.exec(rest!)?.[1]
      const nested = `${first} ${inner}`
      const isNested = inner !== undefined && helpOf(nested).startsWith(`Usage: weft ${nested}`)
      const command = isNested ? nested : first!
      // A sentence that goes on is no command.
      if (!helpOf(command).startsWith(`Usage: weft ${command}`)) continue
      for (const [option] of options) {
        seen++
        const known = new RegExp(`^ .*${option}\\b`, 'm').test(helpOf(command))
        if (!known && option !== '--help') wrong.push(`${page}: weft ${command} ${option}`)
      }
    }
  }
  expect(seen).toBeGreaterThan(10)
  expect(wrong).toEqual([])
})

describe('output as a page shows it', () => {
  it('is the same but for what … stands for, and a tenth of a fraction', () => {
    expect(fits(['loss 0.50', '…', 'done in … s'], ['loss 0.52', 'a', 'b', 'done in 0.3 s'])).toBe(
      true,
    )
    expect(fits(['a', '…'], ['a'])).toBe(true)
    expect(fits(['loss 0.50'], ['loss 0.80'])).toBe(false)
    expect(fits(['step 50'], ['step 51'])).toBe(false)
    expect(fits(['a'], ['a', 'b'])).toBe(false)
    expect(fits(['a', 'b'], ['a'])).toBe(false)
    expect(fits(['right in … s'], ['wrong in 0.3 s'])).toBe(false)
    expect(fits(['loss 0.50 in … s'], ['loss 0.52 in 3 s'])).toBe(true)
    expect(fits(['loss 0.50 in … s'], ['loss 0.80 in 3 s'])).toBe(false)
  })

  it('belongs to the command above it', () => {
    const page = ['```console', '$ one', 'a', '$ two', '```', '```js', '// x.mjs', 'b', '```'].join(
      '\n',
    )
    const { files, commands } = shownBy(page)
    expect(commands.map(({ command, output }) => [command, output])).toEqual([
      ['one', ['a']],
      ['two', []],
    ])
    expect(files).toEqual([{ name: 'x.mjs', text: 'b\n' }])
  })
})
