// The program that the sanitizers run on a GPU (test/cuda1/sanitize.sh), on a host device: it ends well and
// has a case for every operator.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { locateTask } from '../../../dist/train/module-loader.js'
import { hostOnly } from '../device.js'

hostOnly('test/cuda1/sanitize.sh runs the program on a GPU')(
  'every operator and some training steps',
  async () => {
    const { url } = await locateTask(new URL('../../cuda1/sanitize.ts', import.meta.url))
    const args = [fileURLToPath(url), '--device', 'host:0']
    const ran = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 100_000 })
    expect(ran.stderr).toBe('')
    expect(ran.stdout).toMatch(/sanitize: \d+ cases, ok\n$/)
    expect(ran.status).toBe(0)
  },
)
