// Only documented names are public: the exports of src/index.ts against docs/api.md.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const read = (path: string) =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')

/** Names that index.ts exports, `type` and `* as` among them. */
function exported(): { values: string[]; types: string[] } {
  const text = read('src/index.ts')
  // A bare `export *` would make names public that nobody listed.
  expect(text).not.toMatch(/^export \* from/m)
  const values = [...text.matchAll(/^export \* as (\w+) from/gm)].map((match) => match[1]!)
  const types: string[] = []
  for (const [, type, names] of text.matchAll(/^export (type )?\{([^}]*)\} from/gm)) {
    const list = names!.split(',').map((name) => name.trim())
    for (const name of list.filter(Boolean)) (type ? types : values).push(name)
  }
  return { values: values.sort(), types: types.sort() }
}

/** Names in the first columns of the tables, and behind 'Types:'. */
function documented(): { values: string[]; types: string[] } {
  const text = read('docs/api.md')
  const names = (part: string) => [...part.matchAll(/`(\w+)`/g)].map((match) => match[1]!)
  const rows = [...text.matchAll(/^\| (`[^|]*)\|/gm)].map((match) => match[1]!)
  const types = [...text.matchAll(/^Types: ([^.]*)\./gm)].map((match) => match[1]!)
  return { values: rows.flatMap(names).sort(), types: types.flatMap(names).sort() }
}

test('every public name is documented, and every documented name is public', () => {
  const { values, types } = documented()
  expect(exported().values).toEqual(values)
  expect(exported().types).toEqual(types)
  expect(values.length).toBeGreaterThan(50)
  expect(new Set(values).size).toBe(values.length)
})

test('what only tests need is not among them', () => {
  const { values } = exported()
  for (const name of [
    'faults',
    'launchProbe',
    'weftErrorNumber',
    'rememberAbort',
    'makeNativeError',
    'errorClasses',
  ]) {
    expect(values).not.toContain(name)
  }
})
