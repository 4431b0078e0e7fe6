// The models of the examples learn, small and on one device, and a program without its data says what to do.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { manualSeed, noGrad, openFabric, optim, scope, setDefaultDevice, tensor } from 'weft'
import { book, stretches } from '../../../examples/multigpu/book.js'
import { imageBytes, loadCifar10, side, writeImage } from '../../../examples/multigpu/cifar10.js'
import { generate } from '../../../examples/multigpu/generate.js'
import { Gpt, startNormal } from '../../../examples/multigpu/transformer.js'
import { Vit } from '../../../examples/multigpu/vit.js'
import { WordPieces } from '../../../examples/multigpu/word-pieces.js'
import { device, several } from '../device.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))

beforeAll(async () => {
  await openFabric(several(1))
  setDefaultDevice(device)
  manualSeed(11)
})

describe('the vision transformer', () => {
  it('learns the synthetic patterns and classifies ones it has not seen', async () => {
    const { train, test } = loadCifar10('synthetic')
    const model = new Vit({ width: 32, heads: 2, layers: 2, tokens: 2 })
    const optimizer = optim.adamw(model.parameters(), { lr: 2e-3, betas: [0.9, 0.95] })
    const batch = (of: typeof train, from: number, count: number) => {
      const images = new Float32Array(count * imageBytes)
      for (let i = 0; i < count; i++) writeImage(images, i, of, from + i)
      return {
        images: tensor(images, { shape: [count, 3, side, side] }),
        labels: tensor(Int32Array.from(of.labels.subarray(from, from + count))),
      }
    }
    for (let step = 0; step < 120; step++) {
      scope(() => {
        const { images, labels } = batch(train, step * 40, 40)
        model.loss(images, labels).backward()
        optimizer.step()
        optimizer.zeroGrad()
      })
    }
    using right = scope(() =>
      noGrad(() => {
        const { images, labels } = batch(test, 0, 200)
        return model.forward(images).argmax(1).eq(labels).sum()
      }),
    )
    expect(await right.item()).toBeGreaterThan(100)
    optimizer.dispose()
    model.dispose()
  })
})

describe('the language model', () => {
  it('falls well below the loss of a guess on words of the book, and writes with them', async () => {
    const text = book().slice(0, 60_000)
    const pieces = WordPieces.learn(text, 512)
    const request = { split: 'train', rank: 0, world: 1, seed: 3, epoch: 0, batchSize: 8 } as const
    const model = startNormal(
      new Gpt({ vocabulary: 512, length: 32, width: 32, heads: 2, layers: 2 }),
    )
    const optimizer = optim.adamw(model.parameters(), { lr: 1e-2 })
    let last = Number.POSITIVE_INFINITY
    for await (const { tokens, targets } of stretches(pieces.encode(text), 32, request)) {
      using loss = scope(() => {
        const value = model.loss(tensor(tokens.data, tokens), tensor(targets.data, targets))
        value.backward()
        optimizer.step()
        optimizer.zeroGrad()
        return value
      })
      last = await loss.item()
    }
    expect(last).toBeLessThan(0.75 * Math.log(512))
    const written = await generate(model, { start: [...pieces.encode('Call me')], count: 5 })
    expect(pieces.decode(written)).toMatch(/^Call me/)
    expect(written.length).toBe(pieces.encode('Call me').length + 5)
    optimizer.dispose()
    model.dispose()
  })
})

describe('vit-cifar10 without its files', () => {
  it('fails with where to get them', () => {
    const command = join(root, 'dist/cli/main.js')
    const task = join(root, 'examples/multigpu/vit-cifar10.ts')
    const { status, stderr } = spawnSync(
      process.execPath,
      [command, 'train', task, '--devices=host:0', '--steps=1', '--no-run'],
      {
        encoding: 'utf8',
        timeout: 60_000,
        env: { ...process.env, WEFT_CIFAR10: join(tmpdir(), 'weft-no-such-folder') },
      },
    )
    expect(status).not.toBe(0)
    expect(stderr).toMatch(/data_batch_1\.bin is missing\. Get cifar-10-binary\.tar\.gz from https/)
  })
})

describe('snapshot', () => {
  it('runs by the line at its head, and weft inspect tells who is waited for', () => {
    const folder = mkdtempSync(join(tmpdir(), 'weft-example-'))
    try {
      const file = join(folder, 'snapshot.bin')
      const options = { cwd: root, encoding: 'utf8', timeout: 60_000 } as const
      const line = `npx esbuild examples/multigpu/snapshot.ts | node --input-type=module - host:0-1 ${file}`
      const { stdout, stderr } = spawnSync('sh', ['-c', line], options)
      expect(stdout, stderr).toMatch(/events, 1 open call; now: weft inspect/)
      const told = spawnSync(process.execPath, ['dist/cli/main.js', 'inspect', file], options)
      expect(told.stdout).toMatch(/rank 0 has waited .* for rank 1/)
      expect(told.stdout).toMatch(/host:1 comm: .*busy .*waiting/)
      expect(told.stdout).toMatch(/square: \d+ records/)
      expect(told.stdout).toMatch(/step 4: .*exposed communication/)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
