// The workloads that the training benchmarks run, the same in PyTorch (bench/torch/models.py): model, batch,
// optimizer and clipping of `reverse`, `vit`, `minigpt` and `gpt2-124m` (also checkpointed). bench/training.ts, bench/loss-curve.ts
// and bench/step-log.ts use it.
import { autocast, data, type nn, optim, randint, randn, type Tensor, UsageError } from 'weft'
import { decayGroups, Gpt2, gpt2Small } from '../../examples/multigpu/gpt2-model.js'
import { Gpt, type GptOptions, startNormal } from '../../examples/multigpu/transformer.js'
import { Vit } from '../../examples/multigpu/vit.js'

/** What the benchmarks train. */
export type Model = nn.Module & { loss(x: Tensor, y: Tensor): Tensor }

/** One batch on the host: inputs, and the class of each sample or position. */
export interface HostBatch {
  x: Float32Array | Int32Array
  y: Int32Array
}

export interface Workload {
  name: string
  model: () => Model
  optimizer: (parameters: Tensor[]) => optim.Optimizer
  /** Gradients are scaled down to this norm; 0: they are not. */
  clip: number
  /** Samples a batch. */
  batch: number
  /** Shape of one sample's input. */
  input: readonly number[]
  /** Shape of one sample's targets; their number counts for the rate. */
  target: readonly number[]
  /** Different targets; where inputs are tokens, different tokens too. */
  classes: number
  /** Batch `index`, from a seed: targets that can be learnt from the inputs. */
  make: (batch: number, index: number) => HostBatch
}

const adamw = (parameters: Tensor[]) =>
  optim.adamw(parameters, { lr: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1 })

/** Random tokens; the target is a fixed function of each. */
function tokens(samples: number, length: number, vocabulary: number, index: number): HostBatch {
  const next = data.randomStream(11, index)
  const x = Int32Array.from({ length: samples * length }, () => next() % vocabulary)
  const y = x.map((token) => (5 * token + 1) % vocabulary)
  return { x, y }
}

/**
 * A language of 512 tokens, each followed by one of four, half of the time by the first; targets are the next tokens.
 * A loss that random tokens keep near log(vocabulary), where PyTorch does not agree with itself, falls here as on text.
 */
function sentences(samples: number, length: number, vocabulary: number, index: number): HostBatch {
  const next = data.randomStream(13, index)
  const tokenOf = (word: number) => (word * 97 + 5) % vocabulary
  const follower = (word: number) => {
    const draw = next() % 8
    const choice = draw < 4 ? 0 : draw < 6 ? 1 : draw < 7 ? 2 : 3
    return (word * 5 + 131 * choice + 7) % 512
  }
  const x = new Int32Array(samples * length)
  const y = new Int32Array(samples * length)
  for (let sample = 0; sample < samples; sample++) {
    let word = next() % 512
    for (let i = sample * length; i < (sample + 1) * length; i++) {
      x[i] = tokenOf(word)
      word = follower(word)
      y[i] = tokenOf(word)
    }
  }
  return { x, y }
}

/** Noise with variance 1, brighter in a place of its class. */
function images(samples: number, index: number): HostBatch {
  const next = data.randomStream(12, index)
  const size = 3 * 32 * 32
  const x = new Float32Array(samples * size)
  const y = Int32Array.from({ length: samples }, () => next() % 10)
  for (let i = 0; i < x.length; i++) {
    const label = y[Math.floor(i / size)] as number
    const bright = Math.floor((i % 1024) / 103) === label ? 1 : 0
    x[i] = (next() / 2 ** 32 - 0.5) * Math.sqrt(12) + bright
  }
  return { x, y }
}

function language(
  name: string,
  options: GptOptions,
  rest: Pick<Workload, 'batch' | 'clip' | 'optimizer'>,
): Workload {
  const { vocabulary, length } = options
  return {
    name,
    model: () => startNormal(new Gpt(options)),
    input: [length],
    target: [length],
    classes: vocabulary,
    make: (batch, index) => tokens(batch, length, vocabulary, index),
    ...rest,
  }
}

export const workloads: readonly Workload[] = [
  language(
    'reverse',
    { vocabulary: 36, length: 64, width: 128, heads: 4, layers: 2 },
    { batch: 64, clip: 0, optimizer: (parameters) => optim.sgd(parameters, { lr: 0.1 }) },
  ),
  {
    name: 'vit',
    model: () => new Vit(),
    optimizer: adamw,
    clip: 0,
    batch: 256,
    input: [3, 32, 32],
    target: [],
    classes: 10,
    make: images,
  },
  language(
    'minigpt',
    { vocabulary: 4096, length: 128, width: 256, heads: 8, layers: 6 },
    { batch: 64, clip: 1, optimizer: adamw },
  ),
  gpt2('gpt2-124m', false),
  gpt2('gpt2-124m-checkpoint', true),
]

/** The smallest GPT-2; checkpointed, its blocks are computed again in the backward pass. */
function gpt2(name: string, checkpointed: boolean): Workload {
  return {
    name,
    model: () => new Gpt2({ ...gpt2Small, checkpointed }),
    optimizer: (parameters) =>
      optim.adamw(decayGroups(parameters), { lr: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1 }),
    clip: 1,
    batch: 32,
    input: [gpt2Small.length],
    target: [gpt2Small.length],
    classes: gpt2Small.vocabulary,
    make: (batch, index) => sentences(batch, gpt2Small.length, gpt2Small.vocabulary, index),
  }
}

/** The workload called `name`. */
export function workload(name: string): Workload {
  const found = workloads.find((each) => each.name === name)
  if (found) return found
  const names = workloads.map((each) => each.name).join(', ')
  throw new UsageError(`there is no workload ${name}; choose from ${names}`)
}

/** Normal images or random tokens, random targets, i64, as the peer's benchmark has them. */
export function fixedBatch(
  { input, target, classes }: Workload,
  { batch, device }: { batch: number; device: string },
) {
  const shape = [batch, ...input]
  const x = input.length > 1 ? randn(shape, { device }) : randint(0, classes, shape, { device })
  return { x, y: randint(0, classes, [batch, ...target], { device }) }
}

/** What a benchmark's step computes in: f32 products (TF32 where allowed), or bf16 autocast. */
export type StepPrecision = 'f32' | 'bf16'

/** The precision that a flag names; throws UsageError. */
export function stepPrecision(text: string): StepPrecision {
  if (text === 'f32' || text === 'bf16') return text
  throw new UsageError(`--precision ${text}: choose f32 or bf16`)
}

/** Loss, gradients, clipping, optimizer: one whole step. Returns the loss, which the caller owns. */
export function trainStep(
  { clip }: Workload,
  model: Model,
  parameters: Tensor[],
  optimizer: optim.Optimizer,
  x: Tensor,
  y: Tensor,
  precision: StepPrecision = 'f32',
): Tensor {
  const loss = autocast(precision, () => model.loss(x, y), { weights: parameters })
  loss.backward()
  if (clip > 0) optim.clipGradNorm(parameters, clip)
  optimizer.step()
  optimizer.zeroGrad()
  return loss
}
