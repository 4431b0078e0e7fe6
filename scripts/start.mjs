// `npm start`: set-up, then the main job: a small vision transformer trained data-parallel on handwritten
// digits. The command line of weft runs in this process, so Ctrl-C and output reach it directly.
// Arguments after `--` go to `weft train`.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root, runMain, setUp } from './setup.mjs'

await runMain(async () => {
  const { seconds } = await setUp()
  process.env.WEFT_SETUP_SECONDS = seconds.toFixed(2)
  const command = join(root, 'dist/cli/main.js')
  const task = join(root, 'examples/multigpu/digits-vit.ts')
  process.argv = [process.execPath, command, 'train', task, ...process.argv.slice(2)]
  await import(pathToFileURL(command).href)
})
