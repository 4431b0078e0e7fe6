// Groups: an ordered set of devices that run collectives. Rank r is the r-th device. Group calls
// for all ranks from one thread; group.rank(r) calls for one rank from its own thread, and the last
// rank to arrive launches for all. Tensors must be contiguous and must not require gradients while
// these are recorded (UsageError). Wrong shapes, dtypes or devices of one rank are ShapeError,
// DtypeError, DeviceError; differences between ranks are a DesyncError at every rank.
import { native, words } from '../native/addon.js'
import type { WeftError } from '../native/errors.js'
import {
  errorClasses,
  GroupAbortedError,
  rememberAbort,
  UsageError,
  weftErrorNumber,
} from '../native/errors.js'
import type { Tensor } from '../tensor/tensor.js'
import { allRanks, coalescedCalls } from './coalesce.js'
import type {
  CollectiveName,
  CollectiveOptions,
  ReduceCallOptions,
  RootOptions,
} from './collective-call.js'
import { callLimits, callNumbers, writeCounts } from './collective-call.js'
import { deviceIndex, deviceName } from './devices.js'
import { ranksByColor } from './rank-colors.js'
import { RankGroup } from './rank-group.js'
import { applyTunedChoices, forgetTunedChoices } from './tuned-choices.js'
import { Work } from './work.js'

/** What Fabric.group() may be told. */
export interface GroupOptions {
  /** In errors and snapshots. */
  name?: string
  /**
   * Of each device, that collectives in kernels (a plugin's) may fill: the others are left to what runs beside
   * them. Default: as many as an algorithm takes. Copy engines need none.
   */
  multiprocessors?: number
}

export interface SendReceiveOptions extends CollectiveOptions {
  /** Rank that sends. */
  from: number
  /** Rank that receives, another one. */
  to: number
}

/** Of the group's calls and its sends and receives; a coalesced call is one. */
export interface GroupStats {
  calls: number
  bytes: number
  desyncs: number
  timeouts: number
}

/**
 * Some devices in rank order, and collectives over them. A method makes the call for all ranks from this thread: tensors[r] lies on the r-th
 * device; it enqueues and returns a Work at once. Threads that each drive one rank take rank(r). Ranks that call differently get a DesyncError,
 * one that does not come in time a CollectiveTimeoutError; the group works again afterwards.
 */
export class Group {
  /** Good on every thread of the process: Group.attach(id) in a worker. */
  readonly id: number
  /** Device names by rank. */
  readonly devices: readonly string[]

  private constructor(id: number) {
    this.id = id
    this.devices = Object.freeze(native.groupDevices(id).map(deviceName))
  }

  /** A new group of distinct devices; enables peer access between them where possible. */
  static create(devices: readonly string[], options: GroupOptions = {}): Group {
    const { name = '', multiprocessors = 0 } = options
    if (!Number.isInteger(multiprocessors) || multiprocessors < 0 || multiprocessors > 65_535) {
      throw new UsageError(
        `multiprocessors ${String(multiprocessors)}: give a whole number from 1, or leave it out`,
      )
    }
    const indices = devices.map((device) => deviceIndex(device))
    const id = native.groupCreate(indices, name, multiprocessors)
    applyTunedChoices(id, indices)
    return new Group(id)
  }

  /** The group that another thread made. */
  static attach(id: number): Group {
    return new Group(id)
  }

  /**
   * Groups of the ranks of one colour each: colors[r] is that of rank r, `undefined` puts it in none. A
   * group's ranks follow `keys`, and where these are equal (or not given) the ranks of this group.
   * Returns the new group of each rank of this one; ranks of one colour share it. The new groups have
   * calls, aborts and an end of their own: dispose() of each. They have this group's multiprocessors.
   */
  split(
    colors: readonly (number | undefined)[],
    keys: readonly number[] = colors.map(() => 0),
  ): (Group | undefined)[] {
    const made = new Map<number, Group>()
    const multiprocessors = native.groupMultiprocessors(this.id)
    for (const [color, ranks] of ranksByColor(this.size, colors, keys)) {
      const devices = ranks.map((rank) => this.devices[rank] as string)
      const name = `colour ${color} of group ${this.id}`
      made.set(color, Group.create(devices, { name, multiprocessors }))
    }
    return colors.map((color) => (color === undefined ? undefined : made.get(color)))
  }

  /** Number of ranks. */
  get size(): number {
    return this.devices.length
  }

  /** Calls of one rank, for the thread that drives its device. */
  rank(rank: number): RankGroup {
    return new RankGroup(this, rank)
  }

  /** tensors[r] of every rank becomes the combination over ranks, in place. */
  allReduce(tensors: readonly Tensor[], options: ReduceCallOptions = {}): Work {
    return this.#submit('allReduce', tensors, undefined, options)
  }
  /** Every tensors[r] becomes tensors[root], in place. */
  broadcast(tensors: readonly Tensor[], options: RootOptions = {}): Work {
    return this.#submit('broadcast', tensors, undefined, options)
  }
  /** tensors[root] becomes the combination; the other ranks' tensors stay. */
  reduce(tensors: readonly Tensor[], options: ReduceCallOptions & RootOptions = {}): Work {
    return this.#submit('reduce', tensors, undefined, options)
  }
  /** outputs[r] (ranks · n elements) becomes all inputs (n elements) in rank order. */
  allGather(
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    options: CollectiveOptions = {},
  ): Work {
    return this.#submit('allGather', inputs, outputs, options)
  }
  /** outputs[r] (n elements) becomes part r of the combined inputs (ranks · n elements). */
  reduceScatter(
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    options: ReduceCallOptions = {},
  ): Work {
    return this.#submit('reduceScatter', inputs, outputs, options)
  }
  /** `output`, on the root's device (ranks · n elements), becomes all inputs (n elements) in rank order. */
  gather(inputs: readonly Tensor[], output: Tensor, options: RootOptions = {}): Work {
    return this.#submit('gather', inputs, this.#atRoot('gather', output, options), options)
  }
  /** outputs[r] (n elements) becomes part r of `input` (ranks · n elements), on the root's device. */
  scatter(input: Tensor, outputs: readonly Tensor[], options: RootOptions = {}): Work {
    return this.#submit('scatter', this.#atRoot('scatter', input, options), outputs, options)
  }
  /**
   * Part r of outputs[q] becomes part q of inputs[r], each tensor in as many equal parts as there
   * are ranks; in place without `outputs`.
   */
  allToAll(
    inputs: readonly Tensor[],
    outputs?: readonly Tensor[],
    options: CollectiveOptions = {},
  ): Work {
    return this.#submit('allToAll', inputs, outputs, options)
  }
  /**
   * As allToAll, but blocks have the sizes of `counts`: counts[r][q] elements go from rank r to rank q, so
   * row r adds up to inputs[r] and column q to outputs[q].
   */
  allToAllUneven(
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    counts: readonly (readonly number[])[],
    options: CollectiveOptions = {},
  ): Work {
    const n = this.size
    if (counts.length !== n) {
      throw new UsageError(`allToAllUneven: ${n} ranks need ${n} rows, ${counts.length} were given`)
    }
    counts.forEach((row, r) => {
      writeCounts(`allToAllUneven, rank ${r}`, row, n, n * (2 + r))
    })
    return this.#submit('allToAllUneven', inputs, outputs, options)
  }
  /**
   * `output`, on the device of rank `to`, becomes `input`, on that of rank `from`. It takes these two
   * ranks alone and has its place among the sends from one to the other, not among the calls of the
   * group.
   */
  sendReceive(input: Tensor, output: Tensor, options: SendReceiveOptions): Work {
    const { from, to } = options
    const limits = callLimits(options)
    return new Work(native.groupTransfer(this.id, from, to, input.handle, output.handle, ...limits))
  }
  /** Done when every device has done what was enqueued on its current stream before. */
  barrier(options: CollectiveOptions = {}): Work {
    return this.#submit('barrier', undefined, undefined, options)
  }

  /**
   * Makes the group's calls in `fn` as one: they meet, are checked over ranks and launch together, run in
   * order, all or none. Returns the work of all, which each call in `fn` returns too; wait for it after
   * `fn`. The shortest of the limits counts. Not for sendReceive() nor for calls of one rank.
   */
  coalesce(fn: () => void, options: CollectiveOptions = {}): Work {
    return coalescedCalls(this.id, allRanks, fn, options)
  }

  /**
   * Fails every open, launched and later call on all threads with `error`, until reset(): with its
   * class when it is one of weft's, else with a GroupAbortedError whose `cause` it is.
   */
  abort(error: Error): void {
    const code = weftErrorNumber(error)
    if (code !== undefined) {
      const { message, fields } = error as WeftError
      native.groupAbort(this.id, code, message, JSON.stringify(fields))
      return
    }
    const cause = error instanceof Error ? error : new Error(String(error))
    const { name, message, stack } = cause
    rememberAbort(this.id, cause)
    native.groupAbort(
      this.id,
      errorClasses.indexOf(GroupAbortedError) + 1,
      `the group was aborted: ${name}: ${message}`,
      JSON.stringify({ group: this.id, name, message, stack }),
    )
  }

  /** Forgets an abort. No rank may be inside a call. */
  reset(): void {
    rememberAbort(this.id, undefined)
    native.groupReset(this.id)
  }

  /** Calls and bytes so far, and how many ended in an error; waits for nothing. */
  stats(): GroupStats {
    native.groupStats(this.id)
    const [calls, bytes, desyncs, timeouts] = words as unknown as [number, number, number, number]
    return { calls, bytes, desyncs, timeouts }
  }

  /** Forgets the group on all threads. Calls under way end normally. */
  dispose(): void {
    rememberAbort(this.id, undefined)
    native.groupDispose(this.id)
    forgetTunedChoices(this.id)
  }
  /** As dispose(), for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  // One tensor a rank, of which only the root's is there.
  #atRoot(name: CollectiveName, tensor: Tensor, { root = 0 }: RootOptions): (Tensor | undefined)[] {
    if (!Number.isInteger(root) || root < 0 || root >= this.size) {
      throw new UsageError(`${name}: root ${root} is not a rank of a group of ${this.size}`)
    }
    return this.devices.map((_, rank) => (rank === root ? tensor : undefined))
  }

  #submit(
    name: CollectiveName,
    inputs: readonly (Tensor | undefined)[] | undefined,
    outputs: readonly (Tensor | undefined)[] | undefined,
    options: ReduceCallOptions & RootOptions,
  ): Work {
    const [kind, op] = callNumbers(name, options.op)
    const n = this.size
    for (const list of [inputs, outputs]) {
      if (list !== undefined && list.length !== n) {
        throw new UsageError(`${name}: ${n} ranks need ${n} tensors, ${list.length} were given`)
      }
    }
    for (let r = 0; r < n; r++) {
      words[r] = inputs?.[r]?.handle ?? 0
      words[n + r] = outputs?.[r]?.handle ?? 0
    }
    const limits = callLimits(options)
    return new Work(native.groupSubmitAll(this.id, kind, op, options.root ?? 0, ...limits))
  }
}
