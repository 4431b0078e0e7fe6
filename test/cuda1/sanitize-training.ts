// The training part of sanitize.ts: two steps of a small transformer by hand (AdamW, clipping), one with
// SGD, each again in f16 with its loss scaled, and two steps through the trainer with its gradient arenas and its worker thread.
import { fileURLToPath } from 'node:url'
import {
  autocast,
  functional as F,
  keep,
  nn,
  optim,
  scope,
  setDefaultDevice,
  type Tensor,
  Trainer,
  tensor,
} from 'weft'

const [batch, length, vocabulary, width] = [3, 33, 61, 48]

class Transformer extends nn.Module {
  embedding = new nn.Embedding(vocabulary, width)
  norm1 = new nn.LayerNorm(width)
  attention = new nn.MultiHeadAttention(width, 3, { causal: true })
  norm2 = new nn.RMSNorm(width)
  up = new nn.Linear(width, 2 * width, { gelu: true })
  down = new nn.Linear(2 * width, width)
  dropout = new nn.Dropout(0.1)
  head = new nn.Linear(width, vocabulary)

  forward(tokens: Tensor): Tensor {
    const x = this.embedding.forward(tokens)
    const a = x.add(this.attention.forward(this.norm1.forward(x)))
    const b = a.add(this.dropout.forward(this.down.forward(this.up.forward(this.norm2.forward(a)))))
    return this.head.forward(b).reshape([batch * length, vocabulary])
  }
}

function tokens(device: string, from: number): Tensor {
  const ids = Array.from({ length: batch * length }, (_, i) => ((i + from) * 17) % vocabulary)
  return tensor(ids, { shape: [batch, length], dtype: 'i64', device })
}

async function byHand(device: string): Promise<void> {
  const model = new Transformer()
  const parameters = [...model.parameters()]
  const optimizers = [
    optim.adamw(parameters, { lr: 1e-3 }),
    optim.adamw(parameters, { lr: 1e-3 }),
    optim.sgd(parameters, { lr: 1e-3, momentum: 0.9 }),
  ]
  const losses: Tensor[] = []
  for (const optimizer of optimizers) {
    scope(() => {
      const logits = model.forward(tokens(device, 0))
      const loss = F.crossEntropy(logits, tokens(device, 1).reshape([batch * length]))
      loss.backward()
      optim.clipGradNorm(parameters, 0.5)
      optimizer.step()
      optimizer.zeroGrad()
      losses.push(keep(loss.detach()))
    })
  }
  const scaler = new optim.GradScaler({ device })
  for (const optimizer of optimizers) {
    scope(() => {
      const targets = tokens(device, 1).reshape([batch * length])
      const run = () => F.crossEntropy(model.forward(tokens(device, 0)), targets)
      const loss = autocast('f16', run)
      scaler.scale(loss).backward()
      scaler.step(optimizer)
      scaler.update()
      optimizer.zeroGrad()
      losses.push(keep(loss.detach()))
    })
  }
  for (const loss of losses) {
    if (!Number.isFinite(await loss.item())) throw new Error('the loss is not finite')
  }
  for (const parameter of parameters) await parameter.data()
}

/** All training steps; leaves the default device at `device`. */
export async function trainingSteps(device: string): Promise<void> {
  setDefaultDevice(device)
  await byHand(device)
  const task = fileURLToPath(new URL('../host/tasks/regression.mjs', import.meta.url))
  // A first step under a sanitizer takes its time.
  const limits = { timeoutMs: 600_000, stallMs: 600_000 }
  const settings = { ...limits, devices: [device], steps: 2, batchSize: 9, clipNorm: 1 }
  await new Trainer({ task, ...settings, run: false }).fit()
}
