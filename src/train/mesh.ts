// The mesh of a run: over which ranks gradients and optimizer state are cut, and over which they are copies. Owns the
// groups of both; the coordinator makes one and tells each worker its places.
import type * as Zod from 'zod'
import type { Group } from '../fabric/group.js'
import { UsageError } from '../native/errors.js'
import type { RankSharding } from './worker/protocol.js'

/** The keys that Trainer options have for this. */
export function meshSchema({ z }: typeof Zod) {
  const count = z.int().positive()
  return {
    mesh: z
      .strictObject({
        replicate: count.optional(),
        shard: z.union([count, z.literal('all')]),
      })
      .optional(),
  }
}

/**
 * How ranks share a training run: `shard` of them, or 'all', each keep a share of gradients and optimizer state, and
 * `replicate` such sets train side by side (default: as many as the devices make).
 */
export type MeshOptions = NonNullable<
  Zod.output<Zod.ZodObject<ReturnType<typeof meshSchema>>>['mesh']
>

/** The sizes for so many devices. Throws UsageError where they do not make the mesh. */
export function meshSizes(mesh: MeshOptions | undefined, devices: number) {
  if (mesh === undefined) return { replicate: devices, shard: 1 }
  const shard = mesh.shard === 'all' ? devices / (mesh.replicate ?? 1) : mesh.shard
  const replicate = mesh.replicate ?? devices / shard
  if (Number.isInteger(shard) && Number.isInteger(replicate) && replicate * shard === devices) {
    return { replicate, shard }
  }
  throw new UsageError(
    `mesh: replicate ${mesh.replicate ?? '(not given)'} × shard ${mesh.shard} does not make ${devices} devices: their product must`,
    { ...mesh, devices },
  )
}

/** The groups of a run's mesh. */
export class TrainMesh {
  readonly #group: Group
  readonly #shards: (Group | undefined)[]
  readonly #replicas: (Group | undefined)[]
  readonly #shard: number

  /** `group` has all ranks and stays the caller's. Throws UsageError for sizes that do not fit. */
  constructor(group: Group, mesh: MeshOptions | undefined) {
    const { replicate, shard } = meshSizes(mesh, group.size)
    this.#group = group
    this.#shard = shard
    const ranks = Array.from({ length: group.size }, (_, rank) => rank)
    const both = shard > 1 && replicate > 1
    this.#shards = both
      ? group.split(ranks.map((rank) => Math.floor(rank / shard)))
      : ranks.map(() => (shard > 1 ? group : undefined))
    this.#replicas = both ? group.split(ranks.map((rank) => rank % shard)) : []
  }

  /** Where a rank stands; undefined where nothing is cut. */
  place(rank: number): RankSharding | undefined {
    const shards = this.#shards[rank]
    if (shards === undefined) return undefined
    const replicas = this.#replicas[rank]
    return {
      shards: { group: shards.id, rank: rank % this.#shard },
      replicas: replicas && { group: replicas.id, rank: Math.floor(rank / this.#shard) },
    }
  }

  /** Ends the calls of all groups with `error`, those of the run's own among them. */
  abort(error: Error): void {
    this.#group.abort(error)
    for (const group of this.#made()) group.abort(error)
  }

  /** Gives its own groups back. */
  dispose(): void {
    for (const group of this.#made()) group.dispose()
  }

  #made(): Set<Group> {
    const groups = [...this.#shards, ...this.#replicas].filter((group) => group !== undefined)
    return new Set(groups.filter((group) => group !== this.#group))
  }
}
