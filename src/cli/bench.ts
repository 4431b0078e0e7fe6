// `weft bench <name>`: benchmarks that come with the package. Each is a file in cli/bench/; the repository has more
// (`npm run bench`).
import type { Command } from 'commander'
import { collectiveBenches } from './bench/collectives.js'
import { overlapBench } from './bench/overlap.js'
import { pairBench } from './bench/p2p.js'
import { scalingBench } from './bench/scaling.js'

/** Adds `weft bench` to the program. */
export function benchCommand(program: Command): void {
  const bench = program.command('bench').description('measure this machine')
  collectiveBenches(bench)
  pairBench(bench)
  overlapBench(bench)
  scalingBench(bench)
}
