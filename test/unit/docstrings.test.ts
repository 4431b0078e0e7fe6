// Every public name has a docstring at its declaration: what src/index.ts and src/testing.ts export, and what the
// namespaces among it hold. `npm run reference` asks the same of methods and accessors.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const src = fileURLToPath(new URL('../../src/', import.meta.url))

interface PublicName {
  /** As a program writes it: `nn.Linear`. */
  name: string
  /** The file that declares it, and the name that it has there. */
  file: string
  declared: string
}

const declaration = (name: string) =>
  new RegExp(
    `^export (?:declare )?(?:async )?(?:abstract )?(?:class|function\\*?|interface|type|const) ${name}\\b`,
  )

/** What a module exports, followed to the files that declare it. */
function publicNames(file: string, prefix = ''): PublicName[] {
  const text = readFileSync(file, 'utf8')
  const beside = (path: string) => join(dirname(file), path.replace(/\.js$/, '.ts'))
  const found: PublicName[] = []
  for (const [, path] of text.matchAll(/^export \* from '([^']+)'/gm)) {
    found.push(...publicNames(beside(path!), prefix))
  }
  for (const [, name, path] of text.matchAll(/^export \* as (\w+) from '([^']+)'/gm)) {
    found.push(...publicNames(beside(path!), `${prefix}${name}.`))
  }
  for (const [, names, path] of text.matchAll(/^export (?:type )?\{([^}]*)\} from '([^']+)'/gm)) {
    for (const each of names!.split(',').map((part) => part.trim().replace(/^type /, ''))) {
      if (each === '') continue
      const [declared, name = declared] = each.split(' as ')
      // Further on, where that file only passes it on.
      const there = publicNames(beside(path!)).find(
        (one) => one.name === name || one.name === declared,
      )
      found.push({ ...there!, name: `${prefix}${name}` })
    }
  }
  const own =
    /^export (?:declare )?(?:async )?(?:abstract )?(?:class|function\*?|interface|type|const) (\w+)/gm
  for (const [, name] of text.matchAll(own)) {
    found.push({ name: `${prefix}${name}`, file, declared: name! })
  }
  return found
}

/** Does a docstring stand before the declaration, before its first overload where it has several? */
function hasDocstring({ file, declared }: PublicName): boolean {
  const lines = readFileSync(file, 'utf8').split('\n')
  const at = lines.findIndex((line) => declaration(declared).test(line))
  const before = lines
    .slice(0, Math.max(0, at))
    .filter((line) => !line.startsWith('// biome-ignore'))
  return before.at(-1)?.trimEnd().endsWith('*/') ?? false
}

test('every public name has a docstring', () => {
  const names = [...publicNames(`${src}index.ts`), ...publicNames(`${src}testing.ts`)]
  const known = names.map(({ name }) => name)
  expect(known).toEqual(
    expect.arrayContaining([
      'Tensor',
      'nn.Linear',
      'functional.add',
      'optim.schedule.cosine',
      'faults',
    ]),
  )
  expect(names.every(({ file }) => file !== undefined)).toBe(true)
  expect(names.filter((each) => !hasDocstring(each)).map(({ name }) => name)).toEqual([])
})
