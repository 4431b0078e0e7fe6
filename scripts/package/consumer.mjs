// The programs of somebody who uses weft, for check-package.mjs: JavaScript and TypeScript, a task in each.

/** Sums over two devices, and trains `task`; ends with exit code 1 where a result is wrong. */
export const program = (task) => `
import { openFabric, ones, Trainer } from 'weft'
const fabric = await openFabric({ devices: 'host:0-1' })
const parts = fabric.devices.map(({ name }) => ones([4], { device: name }))
await fabric.group().allReduce(parts).done
if (String(await parts[1]!.toArray()) !== '2,2,2,2') throw new Error('wrong sum')
const { steps, replicasEqual } = await new Trainer({ task: '${task}', devices: 'host:0-1', run: false }).fit()
if (steps !== 3 || !replicasEqual) throw new Error('wrong training')
console.log('trained', steps, 'steps')
`

/** A task in TypeScript. */
export const task = `
import { data, defineTask, nn, optim, type Tensor } from 'weft'
export default defineTask({
  name: 'small',
  defaults: { steps: 3, batchSize: 2 },
  model: () => new nn.Linear(4, 1),
  data: ({ batchSize }) =>
    Array.from({ length: 3 }, (_, i) => ({ x: { data: new Float32Array(4 * batchSize).fill(i), shape: [batchSize, 4] } })),
  loss: (model, { x }): Tensor => model.forward(x).pow(2).mean(),
  optimizer: (parameters) => optim.sgd(parameters, { lr: 0.1 }),
})
`

/** The same text as JavaScript. */
export const asJavaScript = (text) =>
  text.replace(', type Tensor', '').replace('): Tensor =>', ') =>').replaceAll(']!', ']')

/** TypeScript that must not compile: the element type does not exist. */
export const wrongDtype = `
import { ones } from 'weft'
console.log(ones([2]).to('bf17').dtype)
`

/** Types that a strict project checks, those of libraries too. */
export const typescriptConfig = {
  compilerOptions: {
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    module: 'nodenext',
    types: ['node'],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    outDir: 'out',
  },
}
