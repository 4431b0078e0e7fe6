// A representative cut of the operators and a training step, without a test runner: what sanitize.sh runs
// under compute-sanitizer's tools. Results are copied to the host but not compared: operator-matrix.test.ts
// does that. Arguments: --device cuda:0, --seconds 200 (stops in time, telling how far it came).
import { parseArgs } from 'node:util'
import { collectives, type DType, manualSeed, ones, openFabric, rand, tensor } from 'weft'
import { Op } from '../../dist/native/operators.js'
import {
  type Case,
  cases,
  disposeMade,
  floats,
  integers,
  type Layout,
  layouts,
  own,
} from './operator-cases.js'
import { furtherCases } from './sanitize-cases.js'
import { trainingSteps } from './sanitize-training.js'

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    seconds: { type: 'string', default: '1000000' },
  },
})
const { device } = values
const started = performance.now()
const seconds = () => (performance.now() - started) / 1000

function input({ shape, low = 0, high = 1, dtype: fixed }: Case['inputs'][number], dtype: DType) {
  const whole = fixed !== undefined || integers.includes(dtype)
  const count = shape.reduce((a, b) => a * b, 1)
  // Multiples of an irrational number: spread evenly, the same in every run.
  const numbers = Array.from({ length: count }, (_, i) => {
    const value = low + ((i * Math.SQRT2) % 1) * (high - low)
    return whole ? Math.floor(value) : value
  })
  return own(tensor(numbers, { shape, dtype: fixed ?? dtype, device }))
}

/** Forward and backward once; every result and gradient is copied to the host. */
async function runCase(c: Case, dtype: DType, layout: Layout): Promise<void> {
  const leaves = c.inputs.map((each) => {
    const t = input(each, dtype)
    return each.plain || c.forward || !floats.includes(dtype) ? t : t.requiresGrad_()
  })
  const out = own(c.run(leaves.map((t, i) => (c.inputs[i]!.plain ? t : layouts[layout](t)))))
  await out.data()
  if (c.forward || !out.requiresGrad) return
  out.backward(own(ones([...out.shape], { dtype: out.dtype, device })))
  for (const leaf of leaves) if (leaf.grad) await leaf.grad.data()
}

/** Every case in f32 on whole tensors and in bf16 on views that are not aligned, where it has such. */
function plan(): [Case, DType, Layout][] {
  return [...furtherCases, ...cases].flatMap((c): [Case, DType, Layout][] => {
    const dtypes = (['f32', 'bf16'] as const).filter((d) => (c.dtypes ?? floats).includes(d))
    const odd = (c.layouts ?? ['unaligned']).includes('unaligned') ? 'unaligned' : 'contiguous'
    if (dtypes.length === 0) return [[c, c.dtypes![0]!, 'contiguous']]
    return dtypes.map((dtype) => [c, dtype, dtype === 'f32' ? 'contiguous' : odd])
  })
}

const fabric = await openFabric({ devices: [device], log: 'basic' })
const called = new Set<string>()
let since = 0
/** Notes which operators ran, those of formulas and optimizers included. */
function noteOperators(): void {
  const snapshot = fabric.snapshot({ since, limit: 65_536 })
  for (const event of snapshot.events) {
    if (event.kind === 'operator' && event.name) called.add(event.name)
    since = event.sequence
  }
}

manualSeed(7)
await trainingSteps(device)
{
  using group = fabric.group()
  await collectives.gather(group, [rand([5, 7], { device })], { dim: 1 }).data()
}
noteOperators()
console.log(`sanitize: training steps done after ${seconds().toFixed(1)} s`)
const all = plan()
let done = 0
for (const [c, dtype, layout] of all) {
  if (seconds() > Number(values.seconds)) break
  try {
    await runCase(c, dtype, layout)
  } catch (error) {
    throw new Error(`${c.name} ${dtype} ${layout}`, { cause: error })
  }
  disposeMade()
  noteOperators()
  done++
  if (done % 50 === 0) console.log(`sanitize: ${done} cases after ${seconds().toFixed(1)} s`)
}
const whole = done === all.length
// The event log has no record of an operator without a result whose first argument is no list; the training
// steps call it.
const silent = ['sgd_step', 'adamw_step', 'amp_update_']
const missing = Object.keys(Op).filter((name) => !called.has(name) && !silent.includes(name))
if (whole && missing.length > 0) throw new Error(`operators without a case: ${missing.join(' ')}`)
console.log(
  `sanitize: ${done}${whole ? '' : ` of ${all.length}`} cases, ${whole ? 'ok' : 'cut short'}`,
)
