// All-reduces of every algorithm, beside NCCL where there is one: `weft bench allreduce` of this checkout, with the
// same arguments. Run: npm run bench -- allreduce [--devices cuda] [--sizes 1,64,1024] [--plugin ringallreduce] [--json]
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const command = fileURLToPath(new URL('./cli/main.js', import.meta.resolve('weft')))
const ended = spawnSync(
  process.execPath,
  [command, 'bench', 'allreduce', ...process.argv.slice(2)],
  {
    stdio: 'inherit',
    timeout: 28 * 60_000,
  },
)
if (ended.error) throw ended.error
process.exitCode = ended.status ?? 1
