// The end of a step where every rank keeps a share of the gradients: norm and overflows over all shares, the update of
// this rank's share, the all-gather of the parameters, which runs on beside the next forward pass. The stepper calls it
// in place of clipping and step().
import { noGrad } from '../../autograd/no-grad.js'
import type { RankGroup } from '../../fabric/rank-group.js'
import type { GradientReducer } from '../../fabric/reducer.js'
import type { Work } from '../../fabric/work.js'
import { activeRates } from '../../graph/replay-rates.js'
import { clipGradNorm } from '../../optim/clip.js'
import { scope } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Turn } from './captured-step.js'
import type { MixedPrecision } from './mixed-precision.js'
import type { ShardedOptimizer } from './sharded-optimizer.js'

/** As torch.nn.utils.clip_grad_norm_ has it. */
const CLIP_EPS = 1e-6
const LARGEST_F32 = 3.4028234663852886e38

export interface ShardedUpdateParts {
  sharded: ShardedOptimizer
  reducer: GradientReducer
  precision: MixedPrecision
  /** The ranks that have the other shares. */
  calls: RankGroup
  timeoutMs: number
  clipNorm: number | undefined
  /** Becomes the norm over all shares; undefined where nobody asks for it. */
  norm: Tensor | undefined
}

/**
 * Updates this rank's share and has it brought to all ranks. Between turns it BLOCKS until the other ranks have come, at most the timeout;
 * it never waits for the device. The norm is the root of the sum, in f64 and rank order, of the squares of each
 * share's norm.
 */
export function shardedUpdate(parts: ShardedUpdateParts, turn: Turn): void {
  const { sharded, reducer, precision, calls, timeoutMs, clipNorm, norm } = parts
  const { own, shards } = sharded.open()
  const works: Work[] = []
  const over = (tensor: Tensor, op: 'sum' | 'max') =>
    void works.push(calls.allReduce(tensor, { op, timeoutMs }))
  const meet = () => {
    for (const work of works.splice(0)) {
      work.wait()
      work.release()
    }
  }
  scope(() => {
    let squares: Tensor | undefined
    turn(() =>
      noGrad(() => {
        for (const tensor of precision.unscale(own)) over(tensor, 'max')
        if (norm === undefined) return
        // With a limit that no finite norm passes: this only measures.
        const share = clipGradNorm(own.parameters(), LARGEST_F32).to('f64')
        squares = share.mul(share)
        over(squares, 'sum')
      }),
    )
    meet()
    turn(() =>
      noGrad(() => {
        if (norm !== undefined && squares !== undefined) {
          norm.copy_(squares.sqrt())
          if (clipNorm !== undefined) clip(shards.gradients, norm, clipNorm)
        }
        precision.apply(own)
        count(sharded)
        reducer.beginGather()
      }),
    )
    // Called steps go on: what uses a parameter waits for it on the device. A graph ends whole.
    if (activeRates() !== undefined) reducer.finishGather()
  })
}

function clip(gradients: readonly Tensor[], norm: Tensor, limit: number): void {
  const factor = norm.to('f64').add(CLIP_EPS).pow(-1).mul(limit).clamp(0, 1)
  for (const gradient of gradients) gradient.mul_(factor.to(gradient.dtype))
}

/** The task's optimizer tells the steps too. */
function count({ whole }: ShardedOptimizer): void {
  const rates = activeRates()
  if (rates === undefined) whole.steps += 1
  else rates.onReplay(() => void (whole.steps += 1))
}
