// Cost of calling a plugin's operator from JavaScript beside a built-in one, on a host device: 16 elements,
// enqueued and freed by scope(), by turns. The plugin is test/cpp/fixtures/plugins/scaled_add.c, compiled here
// with cc. Prints a table and one JSON line. Run: npm run bench -- plugin-calls [--seconds 2]
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openFabric, ops, rand, scope, type Tensor } from 'weft'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '2' } } })
const batch = 100
const batchesPerTurn = 10

function compiled(folder: string): string {
  const library = join(folder, 'scaled_add.so')
  const source = 'test/cpp/fixtures/plugins/scaled_add.c'
  const flags = ['-std=c11', '-O2', '-shared', '-fPIC', '-I', 'fabric/include', '-o', library]
  execFileSync('cc', [...flags, source], { timeout: 60_000, stdio: 'inherit' })
  return library
}

const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'))
try {
  const fabric = await openFabric({ devices: 'host:0' })
  fabric.loadPlugin(compiled(folder))
  const a = rand([16])
  const b = rand([16])
  const add = ops.demo!.scaled_add!
  const bodies: [name: string, body: () => unknown][] = [
    ['a.add(b)', () => a.add(b)],
    ['ops.demo.scaled_add(a, b)', () => add(a, b)],
    ['ops.demo.scaled_add(a, b, { alpha: 2 })', () => add(a, b, { alpha: 2 })],
  ]
  const samples = bodies.map(() => [] as number[])
  const turn = async (k: number, keep: boolean) => {
    for (let n = 0; n < batchesPerTurn; n++) {
      const start = process.hrtime.bigint()
      scope((): Tensor | undefined => {
        for (let i = 0; i < batch; i++) bodies[k]![1]()
        return undefined
      })
      if (keep) samples[k]!.push(Number(process.hrtime.bigint() - start) / batch / 1000)
    }
    await fabric.synchronize()
  }
  for (let warm = 0; warm < 20; warm++) for (const k of bodies.keys()) await turn(k, false)
  for (const end = Date.now() + 3000 * Number(values.seconds); Date.now() < end; ) {
    for (const k of bodies.keys()) await turn(k, true)
  }
  const rows = bodies.map(([name], k) => {
    const sorted = samples[k]!.sort((x, y) => x - y)
    return { name, medianUs: sorted[sorted.length >> 1]!, bestUs: sorted[0]! }
  })
  console.log(`${''.padEnd(42)}  median     best   (microseconds a call)`)
  for (const { name, medianUs, bestUs } of rows) {
    const cells = [medianUs, bestUs].map((us) => us.toFixed(2).padStart(8))
    console.log(`${name.padEnd(42)}${cells.join(' ')}`)
  }
  console.log(JSON.stringify({ calls: rows }))
  fabric.unloadPlugin('scaled-add')
} finally {
  rmSync(folder, { recursive: true, force: true })
}
