// Mesh: devices in a grid of named axes, as in `fabric.mesh({ data: 2, model: 2 })`. A distributed tensor
// lies on one; placements name its axes. Positions number the devices in row-major order: the last axis
// runs fastest. Groups along an axis are made on first use and shared by renamed and sliced meshes.
import { Group } from '../fabric/group.js'
import { UsageError } from '../native/errors.js'

/** Axis names and their sizes, outermost first. */
export type MeshShape = Readonly<Record<string, number>>

/** What an automatic redistribution did; see autoRedistribute(). */
export interface Redistribution {
  /** The operator that asked for it. */
  operator: string
  /** The call that would have done it, as in "b.redistribute({ model: sharded(0) })". */
  call: string
  /** Received by each device. */
  bytes: number
}

type Groups = Map<string, Group>

/**
 * Devices in a grid of named axes, over which distributed tensors lie: `fabric.mesh({ data: 2, model: 2 })`. It makes
 * the groups along its axes when they are first needed; dispose() frees them.
 */
export class Mesh {
  /** Axis names, outermost first. */
  readonly axes: readonly string[]
  /** Sizes of the axes. */
  readonly shape: readonly number[]
  /** Device names by position. */
  readonly devices: readonly string[]
  readonly #groups: Groups
  readonly #lines = new Map<number, readonly (readonly number[])[]>()
  readonly #along: (readonly Group[] | undefined)[] = []

  private constructor(
    axes: readonly string[],
    shape: readonly number[],
    devices: readonly string[],
    groups: Groups,
  ) {
    this.axes = Object.freeze([...axes])
    this.shape = Object.freeze([...shape])
    this.devices = Object.freeze([...devices])
    this.#groups = groups
  }

  /** A mesh of `shape` over distinct devices, as many as the product of the sizes. */
  static create(shape: MeshShape, devices: readonly string[]): Mesh {
    const axes = Object.keys(shape)
    const sizes = Object.values(shape)
    if (axes.length === 0)
      throw new UsageError('a mesh needs at least one axis: mesh({ model: 4 })')
    requireSizes(shape, devices.length)
    if (new Set(devices).size !== devices.length) {
      throw new UsageError(`a device is named twice in a mesh: ${devices.join(', ')}`)
    }
    return new Mesh(axes, sizes, devices, new Map())
  }

  /** Number of devices. */
  get size(): number {
    return this.devices.length
  }

  /** Position of `axis` among the axes; throws UsageError. */
  axis(axis: string): number {
    const at = this.axes.indexOf(axis)
    if (at >= 0) return at
    throw new UsageError(`the mesh has no axis ${JSON.stringify(axis)}: ${this.axes.join(', ')}`)
  }

  /** Size of an axis. */
  sizeOf(axis: string): number {
    return this.shape[this.axis(axis)] as number
  }

  /** Index along each axis of the device at `position`. */
  coordinates(position: number): number[] {
    const out = new Array<number>(this.shape.length)
    let rest = position
    for (let a = this.shape.length - 1; a >= 0; a--) {
      const size = this.shape[a] as number
      out[a] = rest % size
      rest = (rest - (out[a] as number)) / size
    }
    return out
  }

  /** The positions along axis number `axis`, one list for each choice of the other coordinates. */
  lines(axis: number): readonly (readonly number[])[] {
    const known = this.#lines.get(axis)
    if (known !== undefined) return known
    const byOthers = new Map<string, number[]>()
    for (let p = 0; p < this.size; p++) {
      const others = this.coordinates(p).with(axis, 0).join()
      const line = byOthers.get(others) ?? []
      line.push(p)
      byOthers.set(others, line)
    }
    const lines = [...byOthers.values()]
    this.#lines.set(axis, lines)
    return lines
  }

  /** The groups along an axis, one for each choice of the other coordinates. */
  groups(axis: string): readonly Group[] {
    return this.groupsAlong(this.axis(axis))
  }

  /** @internal The groups of lines(axis), in its order. */
  groupsAlong(axis: number): readonly Group[] {
    const known = this.#along[axis]
    // A mesh that shares the groups may have disposed of them.
    if (known !== undefined && this.#groups.size > 0) return known
    const made = this.lines(axis).map((line) => this.#groupOf(line))
    this.#along[axis] = made
    return made
  }

  #groupOf(positions: readonly number[]): Group {
    const names = positions.map((p) => this.devices[p] as string)
    const key = names.join()
    const known = this.#groups.get(key)
    if (known !== undefined) return known
    const made = Group.create(names)
    this.#groups.set(key, made)
    return made
  }

  /** The same devices under other axis names: rename({ data: 'batch' }). */
  rename(names: Readonly<Record<string, string>>): Mesh {
    for (const axis of Object.keys(names)) this.axis(axis)
    const axes = this.axes.map((axis) => names[axis] ?? axis)
    requireDistinct(axes)
    return new Mesh(axes, this.shape, this.devices, this.#groups)
  }

  /** One axis as several, outermost first: split('data', { node: 2, local: 4 }). */
  split(axis: string, parts: MeshShape): Mesh {
    const at = this.axis(axis)
    requireSizes(parts, this.shape[at] as number)
    const axes = this.axes.toSpliced(at, 1, ...Object.keys(parts))
    requireDistinct(axes)
    const shape = this.shape.toSpliced(at, 1, ...Object.values(parts))
    return new Mesh(axes, shape, this.devices, this.#groups)
  }

  /** The part at one index of some axes, which go: slice({ data: 0 }). At least one axis must stay. */
  slice(indices: Readonly<Record<string, number>>): Mesh {
    const fixed = new Map(Object.entries(indices).map(([axis, i]) => [this.axis(axis), i]))
    for (const [a, i] of fixed) {
      if (Number.isInteger(i) && i >= 0 && i < (this.shape[a] as number)) continue
      throw new UsageError(`slice: axis ${this.axes[a]} has ${this.shape[a]} indices, not ${i}`)
    }
    const stays = (a: number) => !fixed.has(a)
    const axes = this.axes.filter((_, a) => stays(a))
    if (axes.length === 0) throw new UsageError('slice: one axis must stay; use mesh.devices')
    const devices = this.devices.filter((_, p) => {
      const at = this.coordinates(p)
      return [...fixed].every(([a, i]) => at[a] === i)
    })
    return new Mesh(
      axes,
      this.shape.filter((_, a) => stays(a)),
      devices,
      this.#groups,
    )
  }

  /** As "Mesh(data 2 × model 2)". */
  toString(): string {
    return `Mesh(${this.axes.map((axis, a) => `${axis} ${this.shape[a]}`).join(' × ')})`
  }

  /** Forgets the groups, those of renamed, split and sliced meshes too. */
  dispose(): void {
    for (const group of this.#groups.values()) group.dispose()
    this.#groups.clear()
    this.#along.length = 0
  }
  /** As dispose(), for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

function requireSizes(shape: MeshShape, devices: number): void {
  const entries = Object.entries(shape)
  for (const [axis, size] of entries) {
    if (Number.isSafeInteger(size) && size >= 1) continue
    throw new UsageError(`the size of mesh axis ${axis} is a whole number from 1, not ${size}`)
  }
  const product = entries.reduce((n, [, size]) => n * size, 1)
  if (product === devices) return
  const text = entries.map(([axis, size]) => `${axis} ${size}`).join(' × ')
  throw new UsageError(`a mesh of ${text} needs ${product} devices, there are ${devices}`)
}

function requireDistinct(axes: readonly string[]): void {
  if (new Set(axes).size === axes.length) return
  throw new UsageError(`a mesh axis is named twice: ${axes.join(', ')}`)
}
