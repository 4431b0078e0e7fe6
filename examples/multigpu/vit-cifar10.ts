// A vision transformer on CIFAR-10. Run it with `npx weft train examples/multigpu/vit-cifar10.ts`; WEFT_CIFAR10
// names the folder of the official binary files (default data/cifar-10-batches-bin), and
// WEFT_CIFAR10=synthetic trains on made patterns, which says nothing about CIFAR-10.
import { data, defineTask, functional as F, noGrad, optim, scope, tensor } from 'weft'
import { cifar10Source, classes, imageBytes, loadCifar10, side, writeImage } from './cifar10.js'
import { Vit } from './vit.js'

const synthetic = cifar10Source() === 'synthetic'

let loaded: ReturnType<typeof loadCifar10> | undefined
/** The images, read once a worker. */
const cifar10 = () => (loaded ??= loadCifar10())

export default defineTask({
  name: synthetic ? 'vit-cifar10-SYNTHETIC-data' : 'vit-cifar10',
  unit: 'images',
  defaults: { epochs: 30, batchSize: 256 },
  model: () => new Vit(),
  data: ({ split, rank, world, seed, epoch, batchSize }) => {
    const set = cifar10()[split]
    const training = split === 'train'
    return data.loader({
      length: set.labels.length,
      rank,
      world,
      seed,
      epoch,
      batchSize,
      split,
      collate: (indices) => {
        const images = new Float32Array(indices.length * imageBytes)
        for (const [row, i] of indices.entries()) {
          // A crop depends on seed, epoch and image alone: the same on any number of devices.
          writeImage(images, row, set, i, training ? data.randomStream(seed, epoch, i) : undefined)
        }
        const labels = Int32Array.from(indices, (i) => set.labels[i] as number)
        return {
          images: { data: images, shape: [indices.length, 3, side, side] },
          labels: { data: labels, shape: [indices.length] },
        }
      },
    })
  },
  loss: (model, { images, labels }) => model.loss(images, labels),
  evaluate: (model, { images, labels }) => {
    const logits = model.forward(images)
    return {
      accuracy: logits.argmax(1).eq(labels).sum(),
      loss: F.crossEntropy(logits, labels, { reduction: 'sum' }),
      count: labels.numel,
    }
  },
  optimizer: (parameters) =>
    optim.adamw(parameters, { lr: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1 }),
  schedule: ({ step, totalSteps = 1 }) =>
    optim.schedule.warmup(100, optim.schedule.cosine(Math.max(1, totalSteps - 100)))(step),
  finish: async ({ model, device, print }) => {
    const { test } = cifar10()
    const count = 10
    const images = new Float32Array(count * imageBytes)
    for (let i = 0; i < count; i++) writeImage(images, i, test, i)
    using found = scope(() =>
      noGrad(() =>
        model.forward(tensor(images, { shape: [count, 3, side, side], device })).argmax(1),
      ),
    )
    const answers = [...(await found.data())].map(Number)
    const right = answers.filter((answer, i) => answer === test.labels[i]).length
    print(`the first ${count} held-out images, ${right} of them right (image: answer):`)
    for (const [i, answer] of answers.entries()) {
      print(`  ${classes[test.labels[i] as number]}: ${classes[answer]}`)
    }
    if (synthetic)
      print('SYNTHETIC data: made patterns, no photographs; this is no CIFAR-10 result')
  },
})
