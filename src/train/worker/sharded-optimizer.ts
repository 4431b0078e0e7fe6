// The optimizer of a rank that keeps a share of the gradients: one of the task's kind over the pieces of parameters
// that are this rank's, with the options of the task's groups, so its state is as small as the share. The stepper
// calls update(); sharded-state.ts gathers the state and takes it over.
//
// Design. The task's own optimizer never steps: it holds the groups and their options, which the one here shares, so
// rates, schedules and what a task changes between steps reach it. A piece is a leaf over the memory of its
// parameter, and its gradient one over the reducer's: nothing is copied.
import { noGrad } from '../../autograd/no-grad.js'
import type { GradientReducer, ShardPiece, Shards } from '../../fabric/reducer.js'
import { UsageError } from '../../native/errors.js'
import { AdamW, type AdamWOptions } from '../../optim/adamw.js'
import type { ParameterGroup } from '../../optim/optimizer.js'
import { SGD, type SgdOptions } from '../../optim/sgd.js'
import { zeros } from '../../tensor/operators/factory.js'
import { disposeAll, keep, scope } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { TaskOptimizer } from '../task.js'

/** An optimizer whose state can be cut: each element of a parameter is updated by itself. */
export type Elementwise = AdamW | SGD

/** A piece of a parameter, with the parameter's place in the task's optimizer. */
export interface GroupPiece extends ShardPiece {
  group: number
  index: number
}

/** The optimizer of one rank's share. */
export class ShardedOptimizer {
  /** The task's. */
  readonly whole: Elementwise
  readonly #reducer: GradientReducer
  readonly #rank: number
  readonly #parameters: readonly Tensor[]
  #shards: Shards | undefined
  #own: Elementwise | undefined
  #pieces: GroupPiece[] = []
  #ownPieces: GroupPiece[][] = []
  #owned: Tensor[] = []

  /**
   * `parameters` are the reducer's, `rank` is this one's in the group over which gradients are cut. Throws UsageError where the optimizer is none whose state can be cut, or has
   * state already.
   */
  constructor(
    reducer: GradientReducer,
    rank: number,
    optimizer: TaskOptimizer,
    parameters: readonly Tensor[],
  ) {
    this.#reducer = reducer
    this.#rank = rank
    this.#parameters = parameters
    const kind = (optimizer as object).constructor
    if (kind !== AdamW && kind !== SGD) {
      throw new UsageError(
        'mesh.shard needs an optimizer of optim, adamw or sgd: the state of another one cannot be cut',
        { part: 'optimizer' },
      )
    }
    this.whole = optimizer as Elementwise
    if (Object.keys(this.whole.stateDict().tensors).length > 0) {
      throw new UsageError(
        'mesh.shard: task.optimizer returned an optimizer that has state already; resume from a checkpoint instead',
        { part: 'optimizer' },
      )
    }
  }

  /** The reducer's share and the optimizer over it; made at the first call, once the reducer knows its order. */
  open(): { own: Elementwise; shards: Shards } {
    if (this.#own === undefined || this.#shards === undefined) {
      this.#shards = this.#reducer.shards()
      this.#own = this.#make(this.#shards)
    }
    return { own: this.#own, shards: this.#shards }
  }

  /** Pieces of all ranks, once it is open; those of parameters that the task's optimizer leaves alone are not among them. */
  get pieces(): readonly GroupPiece[] {
    return this.#pieces
  }

  /** This rank's pieces by group: the p-th of group g is parameter p of group g of the share's optimizer. */
  get ownPieces(): readonly (readonly GroupPiece[])[] {
    return this.#ownPieces
  }

  /** Has a step, or a checkpoint, made it? */
  get isOpen(): boolean {
    return this.#own !== undefined
  }

  /** The rank's share of the averaged gradients, between a step's reduction and its update. */
  get gradients(): Tensor[] {
    return this.#shards?.gradients ?? []
  }

  /** Frees state, pieces and shares. The parameters stay. Idempotent. */
  dispose(): void {
    this.#own?.dispose()
    const { gradients = [], parameters = [] } = this.#shards ?? {}
    disposeAll([...this.#owned.splice(0), ...gradients, ...parameters])
    this.#own = undefined
    this.#shards = undefined
  }

  #make(shards: Shards): Elementwise {
    const places = new Map<Tensor, { group: number; index: number }>()
    for (const [group, { params }] of this.whole.groups.entries()) {
      for (const [index, parameter] of params.entries()) places.set(parameter, { group, index })
    }
    const own = (tensor: Tensor) => {
      const kept = keep(tensor)
      this.#owned.push(kept)
      return kept
    }
    const groups = this.whole.groups.map(({ options }) => ({ params: [] as Tensor[], options }))
    this.#ownPieces = groups.map(() => [])
    const add = (group: number, tensor: Tensor, gradient: Tensor) => {
      own(tensor).requiresGrad_()
      tensor.grad = own(gradient)
      groups[group]!.params.push(tensor)
    }
    noGrad(() =>
      scope(() => {
        for (const piece of shards.pieces) {
          const place = places.get(this.#parameters[piece.parameter]!)
          if (place === undefined) continue
          const placed = { ...piece, ...place }
          this.#pieces.push(placed)
          if (piece.rank !== this.#rank) continue
          const { bucket, shardOffset, count } = piece
          const run = (flat: Tensor) => flat.narrow(0, shardOffset, count)
          add(place.group, run(shards.parameters[bucket]!), run(shards.gradients[bucket]!))
          this.#ownPieces[place.group]!.push(placed)
        }
        // A model of fewer blocks than ranks: this one steps an element that nobody reads, so that all do alike.
        if (groups.every(({ params }) => params.length === 0)) {
          const { device } = this.#parameters[0]!
          add(0, zeros([1], { device }), zeros([1], { device }))
        }
      }),
    )
    const made = optimizerOver(this.whole, groups)
    // The same objects: what changes in the task's groups holds here.
    for (const [g, { options }] of this.whole.groups.entries()) made.groups[g]!.options = options
    return made
  }
}

type Groups = ParameterGroup<AdamWOptions | SgdOptions>[]

/** One of the same kind; each group has options of its own. */
function optimizerOver(whole: Elementwise, groups: Groups): Elementwise {
  return whole instanceof AdamW
    ? new AdamW(groups as ParameterGroup<AdamWOptions>[], whole.groups[0]!.options)
    : new SGD(groups as ParameterGroup<SgdOptions>[], whole.groups[0]!.options)
}
