// One rank's view of a group, for the thread that drives the rank's device. Calls of all ranks meet
// by their order: call k of every rank is one collective. Rules for tensors: see group.ts.
import { native } from '../native/addon.js'
import type { Tensor } from '../tensor/tensor.js'
import { coalescedCalls } from './coalesce.js'
import type {
  CollectiveName,
  CollectiveOptions,
  ReduceCallOptions,
  RootOptions,
} from './collective-call.js'
import { callLimits, callNumbers, writeCounts } from './collective-call.js'
import type { Group } from './group.js'
import { Work } from './work.js'

export interface VoteOptions {
  /** A small non-negative integer; every rank gets the bitwise or of all votes (`Work.votes`). */
  vote?: number
}

type Options = ReduceCallOptions & RootOptions & VoteOptions

/**
 * Each method arrives for this rank and returns at once. Before using the result call `work.wait()`
 * (blocks until all ranks arrived) or await the work.
 */
export class RankGroup {
  readonly group: Group
  readonly rank: number
  readonly #id: number

  /** @internal */
  constructor(group: Group, rank: number) {
    this.group = group
    this.rank = rank
    this.#id = group.id
  }

  /** Number of ranks. */
  get size(): number {
    return this.group.size
  }
  /** This rank's device. */
  get device(): string {
    return this.group.devices[this.rank] as string
  }

  /** `tensor` becomes the sum (or `op`) over all ranks, in place. */
  allReduce(tensor: Tensor, options: ReduceCallOptions & VoteOptions = {}): Work {
    return this.#submit('allReduce', tensor, undefined, options)
  }
  /** `tensor` becomes that of rank `root` (0), in place. */
  broadcast(tensor: Tensor, options: RootOptions & VoteOptions = {}): Work {
    return this.#submit('broadcast', tensor, undefined, options)
  }
  /** Rank `root`'s `tensor` becomes the sum (or `op`) over all ranks; the others keep theirs. */
  reduce(tensor: Tensor, options: Options = {}): Work {
    return this.#submit('reduce', tensor, undefined, options)
  }
  /** `output` (ranks · n elements) becomes the inputs of all ranks, in rank order. */
  allGather(input: Tensor, output: Tensor, options: CollectiveOptions & VoteOptions = {}): Work {
    return this.#submit('allGather', input, output, options)
  }
  /** `output` (n elements) becomes this rank's part of the sum (or `op`) of all inputs (ranks · n elements). */
  reduceScatter(
    input: Tensor,
    output: Tensor,
    options: ReduceCallOptions & VoteOptions = {},
  ): Work {
    return this.#submit('reduceScatter', input, output, options)
  }
  /** The root gives `output` (ranks · n elements), which becomes all inputs in rank order; no other rank does. */
  gather(input: Tensor, output?: Tensor, options: RootOptions & VoteOptions = {}): Work {
    return this.#submit('gather', input, output, options)
  }
  /** The root gives `input` (ranks · n elements), no other rank does; `output` becomes this rank's part. */
  scatter(
    input: Tensor | undefined,
    output: Tensor,
    options: RootOptions & VoteOptions = {},
  ): Work {
    return this.#submit('scatter', input, output, options)
  }
  /** Part r of `output` becomes this rank's part of rank r's input; in place without `output`. */
  allToAll(input: Tensor, output?: Tensor, options: CollectiveOptions & VoteOptions = {}): Work {
    return this.#submit('allToAll', input, output, options)
  }
  /** As allToAll: sendCounts[q] elements go to rank q, receiveCounts[q] come from it. */
  allToAllUneven(
    input: Tensor,
    output: Tensor,
    sendCounts: readonly number[],
    receiveCounts: readonly number[],
    options: CollectiveOptions & VoteOptions = {},
  ): Work {
    const name = `allToAllUneven, rank ${this.rank}`
    writeCounts(name, sendCounts, this.size, 0)
    writeCounts(name, receiveCounts, this.size, this.size)
    return this.#submit('allToAllUneven', input, output, options)
  }
  /**
   * Meets receive() of rank `to`: send k from one rank to another is receive k there. Calls of the
   * whole group need not be in step with it.
   */
  send(tensor: Tensor, options: CollectiveOptions & { to: number }): Work {
    const limits = callLimits(options)
    return new Work(native.groupSend(this.#id, this.rank, options.to, tensor.handle, ...limits))
  }
  /** `tensor` becomes what rank `from` sends. */
  receive(tensor: Tensor, options: CollectiveOptions & { from: number }): Work {
    const limits = callLimits(options)
    return new Work(
      native.groupReceive(this.#id, options.from, this.rank, tensor.handle, ...limits),
    )
  }
  /** Meets all ranks; moves nothing. */
  barrier(options: CollectiveOptions & VoteOptions = {}): Work {
    return this.#submit('barrier', undefined, undefined, options)
  }

  /** As Group.coalesce(), for this rank's calls; every rank makes as many, in the same order. */
  coalesce(fn: () => void, options: CollectiveOptions & VoteOptions = {}): Work {
    return coalescedCalls(this.#id, this.rank, fn, options)
  }

  #submit(
    name: CollectiveName,
    input: Tensor | undefined,
    output: Tensor | undefined,
    options: Options,
  ): Work {
    const [kind, op] = callNumbers(name, options.op)
    return new Work(
      native.groupSubmit(
        this.#id,
        this.rank,
        kind,
        op,
        options.root ?? 0,
        input?.handle ?? 0,
        output?.handle ?? 0,
        options.vote ?? 0,
        ...callLimits(options),
      ),
    )
  }
}
