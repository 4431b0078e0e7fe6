// What a multi-GPU program did, and who waits for whom: a matmul on each of two devices, an all-reduce over
// them, one rank that is late. Writes the snapshot to a file for `weft inspect`. Run:
// npx esbuild examples/multigpu/snapshot.ts | node --input-type=module - host:0-1 snapshot.bin
import { writeFileSync } from 'node:fs'
import { openFabric, rand, scope, tag } from 'weft'

const [devices = 'host:0-1', file = 'snapshot.bin'] = process.argv.slice(2)
const fabric = await openFabric({ devices, log: 'timing' })
const group = fabric.group()
const parts = group.devices.map((device) => rand([512, 512], { device }))

for (let step = 1; step <= 4; step++) {
  fabric.markStep(step)
  tag('square', () =>
    scope(() => {
      for (const part of parts) part.copy_(part.matmul(part).mul(1 / 512))
    }),
  )
  tag('average', () => group.allReduce(parts, { op: 'avg' }))
}
fabric.markStep() // the last step ends here
await fabric.synchronize()

// Rank 0 calls, the others do not yet: the snapshot shows the open call.
const early = group.rank(0).allReduce(parts[0]!)
const snapshot = fabric.snapshot({ limit: 65_536 })
writeFileSync(file, new Uint8Array(snapshot.bytes))
for (let rank = 1; rank < group.size; rank++) group.rank(rank).allReduce(parts[rank]!)
await early

const open = snapshot.groups.flatMap((each) => each.open)
console.log(`${snapshot.eventCount} events, ${open.length} open call; now: weft inspect ${file}`)
