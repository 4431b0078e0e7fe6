// `npm run readers`: what reads what weft writes, for the tests that compare the two: TensorBoard's event files,
// Prometheus' text, Perfetto's schema, each from PyPI as scripts/versions.json pins it, into .weft/<name>. `.ci/run`
// calls it; tests whose reader is missing are skipped with the reason. A set that lies there as pinned is left alone.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipInstall } from '../build/pip-install.mjs'
import { describeFailure, readJson } from '../children.mjs'
import { root, runMain, SetupError } from '../setup.mjs'

await runMain(async () => {
  const { readers } = readJson(join(root, 'scripts/versions.json'))
  for (const [name, pins] of Object.entries(readers)) {
    const packages = Object.entries(pins).map(([each, version]) => `${each}==${version}`)
    const mark = join(root, '.weft', name, 'pins.txt')
    if (existsSync(mark) && readFileSync(mark, 'utf8') === packages.join('\n')) continue
    const result = await pipInstall(root, name, packages, `readers-${name}`)
    if (result.code !== 0) {
      throw new SetupError(`${name}: pip ${describeFailure(result)}\n${result.output.slice(-800)}`)
    }
    writeFileSync(mark, packages.join('\n'))
    console.log(`readers  ${name}  ${packages.join(' ')}`)
  }
})
