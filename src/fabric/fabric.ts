// The fabric: several devices as one machine. openFabric() is the entry; Fabric answers what is
// there and makes groups. Devices are process-wide and stay open; several Fabric objects may share
// them.
import type { MeshShape } from '../mesh/mesh.js'
import { Mesh } from '../mesh/mesh.js'
import { native } from '../native/addon.js'
import { DeviceError, UsageError } from '../native/errors.js'
import type { NativeLink } from '../native/link-types.js'
import type { DeviceChoice } from './device-names.js'
import { deviceNames } from './device-names.js'
import type { DeviceInfo } from './devices.js'
import { driverFacts, openDevice, preferDevice } from './devices.js'
import { type EventOptions, EventStream } from './event-stream.js'
import { recordFailures } from './failure-recorder.js'
import type { GemmChoices } from './gemm-choices.js'
import {
  checkPolicyOptions,
  isDeterministic,
  settleByOptions,
  unsettle,
  usedGemmChoices,
} from './gemm-policy.js'
import { Group, type GroupOptions } from './group.js'
import { deviceMemory, memorySnapshot } from './memory.js'
import type { DeviceMemory } from './memory-fields.js'
import type { MemorySegment } from './memory-snapshot.js'
import { requireKnownOptions } from './option-checks.js'
import { loadMissing, loadPlugin, type PluginInfo, plugins } from './plugins.js'
import { type ProbeOptions, type ProbeSource, probePairs } from './probe.js'
import { Snapshot } from './snapshot.js'
import { synchronize } from './synchronize.js'
import { chooseTuning, refuseMeasured, type TuneChoice, usesTunedChoices } from './tuned-choices.js'

const logModes = ['off', 'basic', 'timing'] as const

/** How much the event log keeps: nothing, one record an event, or device times too. */
export type LogMode = (typeof logModes)[number]

/** What openFabric() may be told: which devices, and what holds for the process. */
export interface FabricOptions {
  /** Default 'auto': all GPUs, else four host devices. A name is one device: see DeviceChoice. */
  devices?: DeviceChoice
  /** Splits each device in that many virtual devices, each a full rank. */
  virtual?: number
  /** Sets the process's event log mode. */
  log?: LogMode
  /**
   * true: no GEMM kernel is chosen by measurement, so the same program gives the same bits on the same GPU
   * model in every process. Holds for the whole process and must be asked for before a GPU opens, else it is a
   * UsageError. Host devices are so by construction. WEFT_DETERMINISTIC=1 asks for it too.
   */
  deterministic?: boolean
  /**
   * The gemm-choices.json of another run on the same GPU models: its products are multiplied as there, others
   * as `deterministic` would. Before a GPU opens, too. WEFT_GEMM_CHOICES names one for all GPUs of the process.
   */
  gemmChoices?: string | URL
  /** Plugins to load, unless the process has them: names of weft's own ('ringallreduce'), paths (Fabric.loadPlugin). */
  plugins?: readonly (string | URL)[]
  /**
   * Which algorithm an all-reduce gets, for groups that this thread makes from now on: 'cached' (default) takes what
   * `weft tune` measured on this machine, 'off' the built-in table, a path such a file. WEFT_TUNE says the same.
   * With `deterministic` or `gemmChoices` only such a file is taken.
   */
  tune?: TuneChoice
  /**
   * A folder for the flight recorder: when a collective of this thread fails, a snapshot of that moment is written
   * there, the error names the file (`error.flightRecord`), and `weft inspect` reads it. Turns the event log on where
   * it is off. WEFT_FLIGHT_RECORDER says the same for all threads. At most 16 files a thread.
   */
  flightRecorder?: string
}

/** Links between devices, by name. */
export interface Topology {
  devices: string[]
  /** One row for each direction of each pair: the kind of link, its lanes and GB/s. */
  links: (Omit<NativeLink, 'from' | 'to'> & { from: string; to: string })[]
  /** Devices in the order of the ring that collectives use. */
  ring: string[]
  /**
   * The devices divided in sets, the largest first: within one, each reaches each by a peer link at least 40 % as
   * fast as the fastest here.
   */
  cliques: string[][]
}

/** What Fabric.stats() answers at one moment, without waiting for any device. */
export interface FabricStats {
  devices: ({ name: string } & DeviceMemory)[]
  /** Tensors that JavaScript holds, in all threads. */
  liveHandles: number
}

function logModeNumber(mode: LogMode): number {
  const number = logModes.indexOf(mode)
  if (number >= 0) return number
  throw new UsageError(`logMode ${JSON.stringify(mode)}: use ${logModes.join(', ')}`)
}

/**
 * Opens devices. Throws DeviceError, telling why and what to do, when GPUs are asked for and cannot
 * be had. The first device becomes this thread's default unless setDefaultDevice() was called.
 */
export async function openFabric(options: FabricOptions = {}): Promise<Fabric> {
  requireKnownOptions('openFabric', options, [
    'devices',
    'virtual',
    'log',
    'deterministic',
    'gemmChoices',
    'plugins',
    'tune',
    'flightRecorder',
  ])
  const flights = options.flightRecorder ?? process.env.WEFT_FLIGHT_RECORDER
  if (flights) recordFailures(flights)
  if (options.tune !== undefined) chooseTuning(options.tune)
  if (options.deterministic || options.gemmChoices !== undefined) refuseMeasured()
  checkPolicyOptions(options)
  const virtual = options.virtual ?? 0
  const log = options.log === undefined ? undefined : logModeNumber(options.log)
  const names = deviceNames(options.devices ?? 'auto', virtual, driverFacts())
  const devices = openAll(names, virtual, options)
  preferDevice(names[0] as string)
  loadMissing(options.plugins ?? [])
  const fabric = new Fabric(devices)
  if (log !== undefined) native.setLogMode(log)
  if (flights && fabric.logMode === 'off') fabric.logMode = 'basic'
  return fabric
}

/** A fabric that does not open leaves no policy behind. */
function openAll(names: string[], virtual: number, options: FabricOptions): DeviceInfo[] {
  try {
    settleByOptions(names, options)
    return names.map((name) => openDevice(name, virtual))
  } catch (error) {
    unsettle()
    throw error
  }
}

/**
 * The opened devices as one machine: what they are, how they are linked, groups and meshes over them, snapshots of what they did.
 * openFabric() makes it. Devices, memory and the event log are the process's: every Fabric and every thread sees the same.
 */
export class Fabric {
  /** The devices, in the order they were asked for. */
  readonly devices: readonly DeviceInfo[]
  readonly #streams = new Set<WeakRef<EventStream>>()

  /** @internal */
  constructor(devices: readonly DeviceInfo[]) {
    this.devices = Object.freeze([...devices])
  }

  /** The device called `name`; throws DeviceError when it is not one of this fabric's. */
  device(name: string): DeviceInfo {
    const found = this.devices.find((device) => device.name === name)
    if (found) return found
    throw new DeviceError(`${name} is not open here; there are ${this.#names().join(', ')}`)
  }

  /**
   * Are the bits that these devices compute free of measurements? True on host devices alone, unless `weft tune` measured
   * the order of their sums (FabricOptions.tune).
   */
  get deterministic(): boolean {
    return isDeterministic(this.#names()) && !usesTunedChoices()
  }

  /**
   * The GEMM kernels that this process used on these devices so far, to be written as JSON and given back to
   * openFabric({ gemmChoices }); undefined where none was, as on host devices.
   */
  gemmChoices(): GemmChoices | undefined {
    return usedGemmChoices(this.devices.filter((d) => d.driver === 'cuda').map((d) => d.model))
  }

  /** Links between the devices and the ring order. */
  topology(): Topology {
    const indices = this.devices.map((device) => device.index)
    const named = (position: number) => this.devices[position]!.name
    const nameOf = new Map(this.devices.map((device) => [device.index, device.name]))
    return {
      devices: this.#names(),
      links: native.topology(indices).map((link) => ({
        ...link,
        from: nameOf.get(link.from) as string,
        to: nameOf.get(link.to) as string,
      })),
      ring: native.ringOrder(indices).map(named),
      cliques: native.peerCliques(indices).map((set) => set.map(named)),
    }
  }

  /**
   * Tests each ordered pair of different devices, by copy engine and by a kernel's loads and stores: writes,
   * reads back, compares, measures. A pair that fails is not used from then on; its link in the answer says why.
   * Pairs tested before, by this process or an earlier one of this machine, are not tested again unless `again`
   * (ProbeOptions tells of the file that keeps them). Do it before groups are made: they keep the ring order they
   * began with.
   */
  async probe(options: ProbeOptions = {}): Promise<Topology & { source: ProbeSource }> {
    const source = await probePairs(this.devices, options)
    return { ...this.topology(), source }
  }

  /** Memory of each device and the number of live handles. */
  stats(): FabricStats {
    return {
      devices: this.#names().map((name) => ({ name, ...deviceMemory(name) })),
      liveHandles: native.liveHandles(),
    }
  }

  /**
   * What the devices are, hold and did: events from sequence `since` on, at most the newest
   * `limit`. One native call, under 100 µs for 1024 events; decoded when read.
   */
  snapshot(options: { since?: number; limit?: number } = {}): Snapshot {
    return Snapshot.decode(native.snapshot(options.since ?? 0, options.limit ?? 4096))
  }

  /**
   * Follows the event log: `for await (const event of fabric.events({ kinds: ['copy'] }))`. Events come in the
   * order of their sequence until the fabric closes or the loop is left. None is lost while fewer than the 65,536
   * that the log keeps are written between two turns of the event loop; beyond, `dropped` counts them.
   */
  events(options: EventOptions = {}): EventStream {
    requireKnownOptions('events', options, ['kinds', 'since'])
    const stream = new EventStream(options)
    for (const each of this.#streams) if (each.deref() === undefined) this.#streams.delete(each)
    this.#streams.add(new WeakRef(stream))
    return stream
  }

  /** Ends this fabric's event streams. Devices are the process's and stay open. Idempotent. */
  close(): void {
    for (const each of this.#streams) each.deref()?.close()
    this.#streams.clear()
  }
  /** As dispose(), for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** Segments and blocks of one device's allocator. */
  memorySnapshot(device: string): MemorySegment[] {
    return memorySnapshot(this.device(device).name)
  }

  /** A group of all devices, or of the named ones, in that order. Dispose of it when done. */
  group(names: readonly string[] = this.#names(), options: GroupOptions = {}): Group {
    return Group.create(
      names.map((name) => this.device(name).name),
      options,
    )
  }

  /**
   * The devices, or the named ones, as a grid of named axes for distributed tensors: mesh({ data: 2, model: 2 }).
   * Dispose of it when done.
   */
  mesh(shape: MeshShape, names: readonly string[] = this.#names()): Mesh {
    return Mesh.create(
      shape,
      names.map((name) => this.device(name).name),
    )
  }

  /**
   * Loads a plugin's library (docs/plugins.md): its collective algorithms take part in the choice at once, for all
   * groups of the process, its operators are called as ops.ns.op(…). A name without a folder is one of weft's
   * own: 'ringallreduce', 'swiglu'. All or nothing: PluginError says what was wrong.
   */
  loadPlugin(plugin: string | URL): PluginInfo {
    return loadPlugin(plugin)
  }

  /** No call takes what the plugin brought any more; its library goes when nothing uses it. */
  unloadPlugin(name: string): void {
    native.unloadPlugin(name)
  }

  /** The plugins of the process. */
  plugins(): PluginInfo[] {
    return plugins()
  }

  /**
   * Resolves when everything enqueued so far on all devices is done; rejects with what they found.
   */
  async synchronize(options: { timeoutMs?: number } = {}): Promise<void> {
    await Promise.all(this.devices.map((device) => synchronize(device.name, options)))
  }

  /** The event log's mode, process-wide. */
  get logMode(): LogMode {
    return logModes[native.logMode()] as LogMode
  }
  /** Takes effect at once, for all threads. @throws UsageError  no such mode */
  set logMode(mode: LogMode) {
    native.setLogMode(logModeNumber(mode))
  }

  /**
   * Step `step` of the program (1, 2, …) begins: what is enqueued on these devices from here on belongs to it, until the
   * next mark. Without a number no step goes on. `weft inspect` then tells communication and lateness by step.
   */
  markStep(step = 0): void {
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new UsageError(`markStep(${String(step)}): number the steps 1, 2, …`)
    }
    for (const device of this.devices) native.markStep(device.index, step)
  }

  /** Nanoseconds that one record costs in the present mode: logs `count` records and times them. */
  measureLogCost(count = 1000): number {
    return native.appendTestEvents(count)
  }

  #names(): string[] {
    return this.devices.map((device) => device.name)
  }
}
