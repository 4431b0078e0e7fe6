// Killed runs end with the bits of the run that nobody killed: `npm run soak -- kill`, in short.
import { expect, test } from 'vitest'
import { soakKills } from '../../soak/kills.js'
import { hostOnly, onGpu } from '../device.js'

const define = onGpu ? hostOnly('npm run soak -- kill --device names a GPU') : test

define(
  '20 runs on four devices, killed by SIGKILL at random moments, go on to the same weights',
  async () => {
    const lines: string[] = []
    const options = { runs: 20, seed: 1, workers: false, device: 'host:0-3', steps: 250 }
    const failed = await soakKills({ ...options, print: (line) => lines.push(line) })
    expect(lines.slice(0, -1)).toEqual([])
    expect(failed).toBe(0)
    const { kills, torn, again } = JSON.parse(lines.at(-1)!)
    // Were they killed, in the middle of writing too, and did they go on from checkpoints? How often depends on how fast
    // the machine is then, beside the run that sets the moments.
    expect([kills > 4, torn > 0, again > 0]).toEqual([true, true, true])
  },
  400_000,
)

define(
  '6 runs whose workers are ended at random moments restart to the same weights',
  async () => {
    const lines: string[] = []
    const options = { runs: 6, seed: 1, workers: true, device: 'host:0-3', steps: 250 }
    const failed = await soakKills({ ...options, print: (line) => lines.push(line) })
    expect(lines.slice(0, -1)).toEqual([])
    expect(failed).toBe(0)
    expect(JSON.parse(lines.at(-1)!).restarts).toBeGreaterThan(0)
  },
  200_000,
)
