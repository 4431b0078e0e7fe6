// The lists that TypeScript copies from the native definitions.
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { collectiveKinds, eventKinds, nativeWork } from '../../../dist/fabric/event-kinds.js'
import { native } from '../../../dist/native/addon.js'
import { errorClasses } from '../../../dist/native/errors.js'
import { Op, operators } from '../../../dist/native/operators.js'
import { dtypeBytes, dtypeNames } from '../../../dist/tensor/dtype.js'
import { generatedFiles } from '../../../scripts/tables/generate-tables.mjs'

const tables = native.tables()

test('error classes and codes', () => {
  const ours = errorClasses.map((cls) => {
    const error = new cls('x')
    return [error.name, error.code]
  })
  expect(ours).toEqual(tables.errors.map(([, name, code]) => [name, code]))
})

test('dtypes', () => {
  expect(dtypeNames.map((name, id) => [name, dtypeBytes[id]])).toEqual(tables.dtypes)
})

test('event and collective kinds', () => {
  expect(eventKinds).toEqual(tables.events)
  const native = tables.collectives.map((name) => name.replace(/[- ]/g, '_'))
  expect(collectiveKinds).toEqual(native)
})

test('generated declarations follow operators.def: run `npm run tables` when this fails', ({
  skip,
}) => {
  const table = new URL('../../../native/dispatch/operators.def', import.meta.url)
  if (!existsSync(table)) skip('the sources are not here')
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
  const files = generatedFiles(
    read('native/dispatch/operators.def'),
    read('native/dispatch/autocast.def'),
  )
  for (const [path, text] of Object.entries(files)) expect(read(path), path).toBe(text)
})

test('what events of kind operator name', () => {
  expect(nativeWork).toEqual(tables.work)
})

test('operators: run `npm run tables` when this fails', () => {
  expect(operators).toEqual(tables.operators)
  expect(Object.keys(Op)).toEqual(tables.operators.map(([name]) => name))
  expect(Object.values(Op)).toEqual(tables.operators.map((_, id) => id))
})

test('build facts name the host driver', () => {
  const info = native.buildInfo()
  expect(info.drivers.map((driver) => driver.name)).toContain('host')
  expect(info.threads).toBeGreaterThan(0)
})
