// The state of an optimizer that is cut over ranks, as a checkpoint keeps it: whole, by the names that the task's
// optimizer gives it, so a run goes on sharded or not, on any number of ranks. replica.ts gathers it for a checkpoint,
// restore.ts takes it over.
import { noGrad } from '../../autograd/no-grad.js'
import type { RankGroup } from '../../fabric/rank-group.js'
import { CheckpointError } from '../../native/errors.js'
import { AdamW } from '../../optim/adamw.js'
import { fromBytes, zeros } from '../../tensor/operators/factory.js'
import { disposeAll } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { OptimizerRecord } from './protocol.js'
import type { GroupPiece, ShardedOptimizer } from './sharded-optimizer.js'
import type { NamedBytes } from './state.js'

const ELEMENT_BYTES = 4 // state is f32

/** Names of a parameter's tensors and counts. */
function namesOf({ whole }: ShardedOptimizer): { tensors: string[]; counts: string[] } {
  return whole instanceof AdamW
    ? { tensors: ['first', 'second'], counts: ['steps'] }
    : { tensors: ['momentum'], counts: [] }
}

/** The state of a share between a checkpoint and the steps after it. */
export class ShardedState {
  readonly #sharded: ShardedOptimizer
  readonly #calls: RankGroup
  readonly #timeoutMs: number
  /** Of the checkpoint that was taken over. */
  #loaded: Pick<OptimizerRecord, 'steps' | 'counts'> & { tensors: Set<string> } = {
    steps: 0,
    counts: {},
    tensors: new Set(),
  }

  /** `calls` is of the group over which gradients are cut. */
  constructor(sharded: ShardedOptimizer, calls: RankGroup, timeoutMs: number) {
    this.#sharded = sharded
    this.#calls = calls
    this.#timeoutMs = timeoutMs
  }

  /** Kind, steps and counts, as the task's optimizer would tell them. */
  get record(): Pick<OptimizerRecord, 'kind' | 'steps' | 'counts'> {
    const { whole } = this.#sharded
    const { kind } = whole.stateDict()
    const steps = this.#sharded.isOpen ? this.#sharded.open().own.steps : 0
    const since = steps - this.#loaded.steps
    const counts: Record<string, number> = {}
    for (const name of namesOf(this.#sharded).counts) {
      for (const { group, index } of this.#parameters()) {
        const key = `${group}.${index}.${name}`
        const count = (this.#loaded.counts[key] ?? 0) + since // a step updates every parameter
        if (count > 0) counts[key] = count
      }
    }
    return { kind, steps, counts }
  }

  /**
   * The tensors of the state on the host of rank 0, in the order of the whole optimizer's; nothing on other ranks. All
   * ranks of the group call it together. A bucket at a time is whole on rank 0's device. WAITS for the device there.
   */
  async gather(): Promise<NamedBytes[]> {
    if (!this.#sharded.isOpen) return []
    const names = namesOf(this.#sharded).tensors
    const entries = new Map<string, Uint8Array>()
    for (const name of names) await this.#gatherNamed(name, entries)
    if (this.#calls.rank !== 0) return []
    return this.#parameters().flatMap(({ group, index }) =>
      names.flatMap((name) => {
        const bytes = entries.get(`${group}.${index}.${name}`)
        if (bytes === undefined) return []
        const { shape } = this.#sharded.whole.groups[group]!.params[index]!
        return [{ name: `${group}.${index}.${name}`, dtype: 'f32', shape: [...shape], bytes }]
      }),
    )
  }

  async #gatherNamed(name: string, entries: Map<string, Uint8Array>): Promise<void> {
    const { own, shards } = this.#sharded.open()
    const { tensors } = own.stateDict()
    const { device, size, rank } = this.#calls
    const timeoutMs = this.#timeoutMs
    for (const [bucket, { numel }] of shards.gradients.entries()) {
      const block = zeros([numel], { device })
      const whole = rank === 0 ? zeros([numel * size], { device }) : undefined
      try {
        noGrad(() => {
          this.#eachOwn((piece, key) => {
            const state = tensors[`${key}.${name}`]
            if (piece.bucket !== bucket || state === undefined) return
            const run = block.narrow(0, piece.shardOffset, piece.count)
            run.copy_(state)
            run.dispose()
          })
          const work = this.#calls.gather(block, whole, { root: 0, timeoutMs })
          work.wait()
          work.release()
        })
        if (whole !== undefined) {
          this.#cut(name, bucket, numel, new Uint8Array(await whole.bytes()), entries)
        }
      } finally {
        disposeAll(whole === undefined ? [block] : [block, whole])
      }
    }
  }

  /** Gives each parameter its elements of a bucket that is whole. */
  #cut(
    name: string,
    bucket: number,
    block: number,
    bytes: Uint8Array,
    entries: Map<string, Uint8Array>,
  ): void {
    for (const piece of this.#sharded.pieces) {
      if (piece.bucket !== bucket || !this.#has(piece, name)) continue
      const key = `${piece.group}.${piece.index}.${name}`
      const { numel } = this.#sharded.whole.groups[piece.group]!.params[piece.index]!
      const to = entries.get(key) ?? new Uint8Array(numel * ELEMENT_BYTES)
      entries.set(key, to)
      const from = (piece.rank * block + piece.shardOffset) * ELEMENT_BYTES
      const run = bytes.subarray(from, from + piece.count * ELEMENT_BYTES)
      to.set(run, piece.parameterOffset * ELEMENT_BYTES)
    }
  }

  /** Takes over the whole state of a checkpoint, this rank's share of it. `read` gives a tensor's elements by name. */
  async load(
    saved: OptimizerRecord,
    names: readonly string[],
    read: (name: string) => Promise<Uint8Array>,
  ): Promise<void> {
    const { own } = this.#sharded.open()
    const { device } = this.#calls
    const tensors: Record<string, Tensor> = {}
    const counts: Record<string, number> = {}
    try {
      for (const key of names) {
        const [group, index, name] = key.split('.')
        const bytes = await read(key)
        this.#requireWhole(key, bytes)
        this.#eachOwn((piece, place) => {
          if (`${piece.group}.${piece.index}` !== `${group}.${index}`) return
          const from = piece.parameterOffset * ELEMENT_BYTES
          const run = bytes.slice(from, from + piece.count * ELEMENT_BYTES)
          const shape = [piece.count]
          tensors[`${place}.${name}`] = fromBytes(run, { dtype: 'f32', shape, device })
        })
      }
      this.#eachOwn((piece, place) => {
        for (const name of namesOf(this.#sharded).counts) {
          const count = saved.counts[`${piece.group}.${piece.index}.${name}`]
          if (count !== undefined) counts[`${place}.${name}`] = count
        }
      })
      own.loadStateDict({ kind: saved.kind, steps: saved.steps, counts, tensors })
    } finally {
      disposeAll(Object.values(tensors))
    }
    this.#sharded.whole.steps = saved.steps
    this.#loaded = { steps: saved.steps, counts: saved.counts, tensors: new Set(names) }
  }

  #requireWhole(key: string, bytes: Uint8Array): void {
    const [group, index] = key.split('.').map(Number) as [number, number]
    const parameter = this.#sharded.whole.groups[group]?.params[index]
    if (parameter !== undefined && bytes.byteLength === parameter.numel * ELEMENT_BYTES) return
    throw new CheckpointError(
      `the state ${key} of a checkpoint has ${bytes.byteLength / ELEMENT_BYTES} f32 elements, its parameter ${parameter?.numel ?? 'is missing'}`,
    )
  }

  /** Has a parameter this state, on whichever rank it lies? */
  #has({ group, index }: GroupPiece, name: string): boolean {
    if (this.#loaded.tensors.has(`${group}.${index}.${name}`)) return true
    const { own } = this.#sharded.open()
    if (own.steps === this.#loaded.steps) return false
    return own instanceof AdamW || (own.groups[group]!.options.momentum ?? 0) !== 0
  }

  /** `key`: '<group>.<place>' in the share's own optimizer. */
  #eachOwn(body: (piece: GroupPiece, key: string) => void): void {
    for (const [g, pieces] of this.#sharded.ownPieces.entries()) {
      for (const [p, piece] of pieces.entries()) body(piece, `${g}.${p}`)
    }
  }

  /** Parameters of which there are pieces, in the order of the groups. */
  #parameters(): { group: number; index: number }[] {
    const seen = new Map<string, { group: number; index: number }>()
    for (const { group, index } of this.#sharded.pieces) {
      seen.set(`${group}.${index}`, { group, index })
    }
    return [...seen.values()].sort((a, b) => a.group - b.group || a.index - b.index)
  }
}
