// `npm run layers`: runs the layer rules over every source file of the checkout. Prints each finding and,
// last, a count line; exit code 1 when there is a finding. CI calls it.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkFile } from './layer-rules.mjs'
import { sourceFiles } from './source-files.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const isSource = /\.(cc|h|cu|cuh|cpp|hpp|ts|mts|mjs|js|py|cmake)$/
const files = sourceFiles(root).filter(
  (path) => isSource.test(path) && !path.includes('/fixtures/'),
)
const findings = files.flatMap((path) => checkFile(path, readFileSync(join(root, path), 'utf8')))

for (const finding of findings) console.log(finding)
console.log(`layers: ${files.length} files, ${findings.length} findings`)
if (findings.length > 0) process.exitCode = 1
