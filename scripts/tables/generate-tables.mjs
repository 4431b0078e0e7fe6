// `npm run tables`: writes what TypeScript knows of the operators from native/dispatch/operators.def: their ids
// (src/native/operators.ts), functions and methods (src/tensor/generated/); and from autocast.def what mixed
// precision does with their operands (src/native/autocast-classes.ts). test/host/fabric/tables.test.ts compares.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { autocastFile } from './autocast-table.mjs'
import { functionsFile, idsFile, methodsFile } from './operator-declarations.mjs'
import { operatorRows } from './operator-table.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Biome's form of a file that will lie at `path`. */
function formatted(path, text) {
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome')
  const args = [biome, 'check', '--write', `--stdin-file-path=${path}`]
  return execFileSync(process.execPath, args, {
    cwd: root,
    input: text,
    encoding: 'utf8',
    timeout: 60_000,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
}

/**
 * The generated files, path from the root to text.
 *
 * @param {string} definition the text of operators.def
 * @param {string} autocast the text of autocast.def
 */
export function generatedFiles(definition, autocast) {
  const rows = operatorRows(definition)
  return Object.fromEntries(
    Object.entries({
      'src/native/operators.ts': idsFile(rows),
      'src/native/autocast-classes.ts': autocastFile(autocast, rows),
      'src/tensor/generated/functions.ts': functionsFile(rows),
      'src/tensor/generated/methods.ts': methodsFile(rows),
    }).map(([path, text]) => [path, formatted(path, text)]),
  )
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const read = (name) => readFileSync(join(root, 'native/dispatch', name), 'utf8')
  const files = generatedFiles(read('operators.def'), read('autocast.def'))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
}
