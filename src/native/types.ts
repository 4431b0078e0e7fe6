// The addon as TypeScript sees it: one line a function, the contract of native/binding/*.cc.
// Only src/native, src/tensor, src/autograd and src/fabric call it; everything else uses those.
//
// Hot calls pass their arguments through the call buffer ("words"): a Float64Array that native code
// reads and writes directly. A handle is a number (generation * 2^24 + slot); 0 is never a handle.
import type { BenchFunctions } from './bench-types.js'
import type { GroupFunctions } from './group-types.js'
import type { NativeLink } from './link-types.js'

/** A tensor as an integer. Any thread of the process may use it. */
export type Handle = number

/** A timed event of native code, opaque. */
export type NativeTimedEvent = { readonly opaque: unique symbol }

/** What `devices()` and `openDevice()` tell about one device. */
export interface NativeDevice {
  /** Position in the fabric's table: what native calls take. */
  index: number
  /** "host:0", "cuda:1", "cuda:0/2". */
  name: string
  /** "host" or "cuda". */
  driver: string
  ordinal: number
  /** -1 when the device is not a part of a split one. */
  virtualIndex: number
  /** Processor or GPU name. */
  model: string
  totalBytes: number
  /** SMs, or the host driver's threads. */
  multiprocessors: number
  capabilityMajor: number
  capabilityMinor: number
  uuid: string
  pci: string
  /** Of the processors next to it; -1 when not told. */
  numaNode: number
  /** Of the GPU's kernel driver, "580.95.05"; "" on host devices. */
  driverVersion: string
  /** CUDA runtime in this build, "13.0"; "" on host devices. */
  runtimeVersion: string
}

/** What of a GPU the choice of a GEMM kernel depends on. */
export interface NativeGpu {
  model: string
  multiprocessors: number
}

/** How the product of one shape is multiplied. The kernel's name says dtype, layouts and epilogue. */
export interface NativeGemmChoice {
  kernel: string
  m: number
  n: number
  k: number
  batch: number
  /** Parts that k is cut in; 1: none, 0: as the kernel sees fit. */
  splits: number
  /** Tiles side by side that run one after the other. */
  swizzle: number
}

/** The library that tells about links between GPUs; GPUs work without it. */
export interface NvmlReport {
  found: boolean
  /** "" when not found. */
  driverVersion: string
  /** The library that answered, or why none did. */
  detail: string
}

/** What `tables()` returns: the lists that TypeScript keeps copies of. */
export interface NativeTables {
  errors: [enumerator: string, className: string, code: string][]
  dtypes: [name: string, bytes: number][]
  events: string[]
  work: string[]
  operators: [name: string, schema: string][]
  collectives: string[]
}

/** What this addon was built with and finds on the machine. */
export interface BuildInfo {
  compiler: string
  napi: number
  /** Name of the BLAS that the host driver's GEMM calls, "plain" when none. */
  blas: string
  /** Threads of the host driver's compute pool. */
  threads: number
  /** Is the cuda driver part of this build? */
  cuda: boolean
  /** Architectures that it has device code for, "90a, 100a"; "" without the cuda driver. */
  deviceCode: string
  drivers: { name: string; devices: number }[]
}

/** Makes the error that native code throws. */
export type ErrorFactory = (code: number, message: string, fieldsJson: string) => Error

/**
 * A hook of a tensor: takes the gradient's handle, returns 0 to keep it, a handle to replace it by
 * a borrowed tensor, or minus a handle to replace it by one that native code then releases.
 */
export type NativeHook = (grad: Handle) => number

/** Names a registered hook. Opaque. */
export type HookHandle = object & { readonly hook: unique symbol }

/** A loaded plugin: name, version, path, version of the interface, algorithms, operators. */
export type NativePlugin = [string, string, string, string, string[], string[]]

export interface Addon extends BenchFunctions, GroupFunctions {
  // Set-up, once an environment (thread)
  /** Registers the call buffer; it must stay as long as the environment. */
  setCallBuffer(words: Float64Array): void
  /** Registers the function that makes error objects. */
  setErrorFactory(make: ErrorFactory): void
  /** The lists of errors, dtypes, events, operators and collective kinds. */
  tables(): NativeTables
  /** How this addon was built. */
  buildInfo(): BuildInfo

  // Operators
  /** Runs operator `op` on the `count` words in schema order; returns the first result (0: none),
   * further ones in words[0..]. Enqueues and returns. */
  call(op: number, count: number): Handle

  // Tensors
  /** Copies the bytes of `view` now and enqueues the transfer; the shape is words[0..rank). */
  fromHost(view: ArrayBufferView, rank: number, dtype: number, device: number): Handle
  /**
   * Writes dtype, device, rank, numel, offset, contiguous, view, then shape and strides to words.
   */
  tensorMeta(handle: Handle): void
  /** Bits: 1 requires grad, 2 leaf, 4 has a gradient, 8 keeps a graph. */
  tensorFlags(handle: Handle): number
  /** Drops the table's reference; false when it was gone already. */
  release(handle: Handle): boolean
  /** Releases handles[0..count); returns how many were alive. */
  releaseMany(handles: Float64Array, count: number): number
  /** A second handle to the same tensor. */
  retain(handle: Handle): Handle
  /** Does the handle still name a tensor? */
  alive(handle: Handle): boolean
  /** A fresh copy of the elements, contiguous, in the tensor's dtype. Never blocks. */
  read(handle: Handle): Promise<ArrayBuffer>
  /**
   * The same at once, halves as f32, where the tensor lies in host memory and no stream has work left; null otherwise.
   * Never waits; for small tensors.
   */
  peek(handle: Handle): ArrayBuffer | null

  // Autograd
  /** A leaf starts or stops asking for gradients. */
  setRequiresGrad(handle: Handle, on: boolean): void
  /**
   * The gradient of a leaf, 0 when there is none: `known` when that names it already, else a new
   * handle.
   */
  grad(handle: Handle, known: Handle): Handle
  /** Replaces the gradient of a leaf; 0 removes it. */
  setGrad(handle: Handle, grad: Handle): void
  /** Removes the gradient (`toZero` false) or fills it with zeros in place. */
  zeroGrad(handle: Handle, toZero: boolean): void
  /** Operator that made the tensor, "" for a leaf. */
  gradFnName(handle: Handle): string
  /** Calls `hook` with each gradient that reaches the tensor. */
  registerHook(handle: Handle, hook: NativeHook): HookHandle
  /** Calls `hook` after the leaf's gradient was accumulated. */
  registerLeafHook(handle: Handle, hook: () => void): HookHandle
  /** Takes the hook off and drops its function. Idempotent; the tensor may be gone. */
  removeHook(hook: HookHandle): void
  /**
   * Opens a checkpoint on this thread: what operators save from here to leaveCheckpoint() is computed again by `again`.
   * words: handles of `count` inputs; `again` gets their number and finds handles of its own there.
   */
  enterCheckpoint(again: (count: number) => void, count: number): void
  leaveCheckpoint(): void
  /** Does the function of a checkpoint run on this thread now? */
  checkpointOpen(): boolean
  /** words: `count` roots, then `count` gradients (0: one). Enqueues the backward pass. */
  backward(count: number, retainGraph: boolean): void
  /** Turns recording on or off on this thread; returns what it was. */
  setGradEnabled(on: boolean): boolean
  gradEnabled(): boolean

  // Devices
  /** Opens or finds a device by name. */
  openDevice(name: string, virtualCount: number): NativeDevice
  /** All open devices by index. */
  devices(): NativeDevice[]
  /** Memory of the device that nobody has taken now; 0 when it cannot tell. */
  freeBytes(device: number): number
  /** Loads NVML on the first call. */
  nvml(): NvmlReport
  /** Links between the given devices (all when empty). */
  topology(indices: number[]): NativeLink[]
  /** Positions in `indices` in ring order. */
  ringOrder(indices: number[]): number[]
  /** Tests pairs of different devices, each for at most `limitMs` a wait; resolves to the number tested. */
  probePeers(indices: number[], again: boolean, limitMs: number): Promise<number>
  /** An earlier process's result for a pair, with its numbers in words[0..6); false when this one has its own. */
  rememberPair(from: number, to: number, copy: string, kernel: string, reason: string): boolean
  /** Positions in `indices`, divided in sets whose members all reach each other fast. */
  peerCliques(indices: number[]): number[][]
  /** Resolves when everything enqueued on all streams of the device so far is done. */
  synchronize(device: number): Promise<void>
  /** Makes a stream of the device; returns its id. */
  createStream(device: number, priority: number): number
  /** Operators of this thread run on that stream of the device from now on. */
  setCurrentStream(device: number, stream: number): void
  /** Id of the stream that operators of this thread use on the device. */
  currentStream(device: number): number
  /** Stream (device, stream) waits for what (otherDevice, otherStream) has enqueued so far. */
  streamWait(device: number, stream: number, otherDevice: number, otherStream: number): void
  /** A point in a stream's work that device time can be asked of; freed by garbage collection. */
  createTimedEvent(device: number): NativeTimedEvent
  /** Marks the current end of the device's current stream. */
  recordTimedEvent(event: NativeTimedEvent): void
  /** Has the device come past the latest record? */
  timedEventDone(event: NativeTimedEvent): boolean
  /** Milliseconds of device time between two points that were reached. */
  timedEventElapsed(start: NativeTimedEvent, stop: NativeTimedEvent): number
  /** Enqueues work that does nothing: the floor of a launch, for the benchmark. */
  emptyLaunch(device: number): void
  /**
   * Waits for all devices (bounded) and stops driver threads; the fabric cannot be used afterwards.
   */
  shutdown(): void

  // Memory
  /** Writes live tensors, their bytes and the allocator's statistics to words; returns how many. */
  memoryStats(device: number): number
  /** Live handles of the process. */
  liveHandles(): number
  /** Segments and blocks of the device's allocator, packed (see src/fabric/memory-snapshot.ts). */
  memorySnapshot(device: number): ArrayBuffer
  /** Upper bound on bytes reserved on the device; 0 lifts it. */
  setMemoryLimit(device: number, bytes: number): void
  /** Gives free segments back to the driver; returns bytes released. */
  releaseCached(device: number): number

  // Event log
  /** 0 off, 1 basic, 2 timing. */
  setLogMode(mode: number): void
  logMode(): number
  /** Devices, links, streams, memory, counters and events, packed (see src/fabric/snapshot.ts). */
  snapshot(since: number, limit: number): ArrayBuffer
  /** Oldest events from `since` on (0: none); words: how many, next sequence, how many lost. */
  followEvents(since: number, records: ArrayBuffer): void
  /** Number of a tag, the same in all threads. */
  tagNumber(name: string): number
  /** Tag of what this thread logs, 0: none; returns the one before. */
  setTag(tag: number): number
  /** Names of the tags above number `known`. */
  tagNames(known: number): string[]
  /** Logs that step `step` begins on the device; 0: that none goes on. */
  markStep(device: number, step: number): void
  /** Logs `count` events and returns nanoseconds an event. For the benchmark. */
  appendTestEvents(count: number): number

  // Faults of the host driver, for tests
  setDeviceDelay(ordinal: number, microseconds: number): void
  failAllocations(ordinal: number, count: number, skip: number): void
  setPeerAccess(a: number, b: number, allowed: boolean): void
  illegalAddress(device: number): void
  clearFaults(): void
  /** How often this process waited on the host for a stream or an event. */
  hostWaits(): number
  setPairFault(from: number, to: number, fault: number): void
  forgetProbes(): void

  // Random numbers
  /** Seeds one device, or with -1 all open ones and those opened later. */
  seed(device: number, seed: bigint): void
  generatorState(device: number): [seed: bigint, offset: bigint]
  setGeneratorState(device: number, seed: bigint, offset: bigint): void
  loadPlugin(path: string): NativePlugin
  unloadPlugin(name: string): void
  plugins(): NativePlugin[]
  /** Operators of plugins that can be called now. */
  pluginOperators(): [op: number, schema: string][]
  /** Operators that plugins ever brought, by the names that events have: 'ns.op'. */
  pluginOperatorNames(): [op: number, name: string][]
  algorithms(): string[]
  /** Forces one algorithm by name; "" gives the choice back. */
  forceAlgorithm(name: string): void

  // Precision (see src/tensor/precision.ts)
  /** Lets f32 products on GPUs use TF32. */
  setTf32(allowed: boolean): void
  tf32(): boolean
  /** Opens a region of mixed precision (see src/autograd/autocast.ts); returns the mode before. */
  enterAutocast(mode: number): number
  leaveAutocast(before: number): void
  /** Weights of the open region, by their handles in the call buffer. */
  castAhead(count: number): void
  autocastMode(): number

  // How GEMM kernels are chosen (see src/fabric/gemm-policy.ts)
  /** 'measured', 'estimated' or 'given'; throws UsageError when WEFT_DETERMINISTIC is wrong. */
  gemmPolicy(): 'measured' | 'estimated' | 'given'
  /** Version of the menu of kernels, and the GPUs of the machine by ordinal. Opens nothing. */
  gemmFacts(): { menu: number; gpus: NativeGpu[] }
  /** No choice is measured from now on; UsageError when a GPU was opened without it. */
  requireDeterministic(): void
  /** Choices for GPUs of this machine; checked whole before any of them holds. */
  giveGemmChoices(
    gpus: [
      model: string,
      multiprocessors: number,
      choices: [string, number, number, number, number, number, number][],
    ][],
  ): void
  /** Takes the two calls above back, unless a GPU is open. */
  resetGemmPolicy(): void
  /** What products used so far, by GPU model. */
  gemmChoices(): (NativeGpu & { choices: NativeGemmChoice[] })[]

  // Gradient reducer (see src/fabric/reducer.ts)
  /** Flat arena and buckets for the parameters of one rank; returns its number. */
  reducerCreate(
    group: number,
    rank: number,
    parameters: Float64Array,
    bucketBytes: number,
    timeoutMs: number,
    unusedZero: number,
    shards: number,
    shardRank: number,
    replicas: number,
    replicaRank: number,
  ): number
  /** Before each backward pass; mode 0 accumulate, 1 reduce, 2 absent. */
  reducerBegin(id: number, mode: number, vote: number): void
  /** Blocks until every rank has come (bounded); returns the or of all votes. */
  reducerFinish(id: number): number
  /** Forgets a step that began: the next reducerBegin starts one. */
  reducerAbandon(id: number): void
  /**
   * waitUs: time the compute stream stood still over `timedSteps` steps; hostWaitUs: time finish()
   * blocked.
   */
  reducerStats(id: number): {
    steps: number
    timedSteps: number
    buckets: number
    bytes: number
    waitUs: number
    hostWaitUs: number
  }
  /** Order of the parameters in the arena; empty until the ranks have agreed on it. */
  reducerOrder(id: number): Float64Array
  reducerSetOrder(id: number, order: Float64Array): void
  /**
   * Handles of this rank's block of each bucket, and six numbers a piece of any rank: rank, bucket, parameter, offset
   * in it, offset in the block, elements. Moves the parameters into their buckets.
   */
  reducerShards(id: number): {
    gradients: Float64Array
    parameters: Float64Array
    pieces: Float64Array
  }
  /** 0: submits the all-gathers of the parameters; 1: blocks until every rank has come (bounded). */
  reducerGather(id: number, finish: number): void
  /** Submits the averages over the replicas; blocks until the ranks of the shard have come (bounded). */
  reducerAverage(id: number): void
  reducerDispose(id: number): void

  /** Begins a capture on the devices' compute streams; returns the graph's id. */
  graphBegin(devices: readonly number[]): number
  graphEnd(id: number): void
  /** `rates`: {lr, step} of every optimizer call, one device after the other. */
  graphReplay(id: number, rates: Float64Array): void
  /** One rank's part of a run; blocks until every rank has come (bounded); the or of all votes. */
  graphReplayRank(
    id: number,
    group: number,
    rank: number,
    rates: Float64Array,
    vote: number,
    timeoutMs: number,
  ): number
  /** Drops an open capture; blocks for the last run of a graph. */
  graphDispose(id: number): void
  /** The four calls of a capture by all ranks; Join, Enter and Finish block (bounded). */
  groupCaptureJoin(
    group: number,
    rank: number,
    timeoutMs: number,
    shards: number,
    replicas: number,
  ): number
  groupCaptureEnter(capture: number, rank: number): void
  groupCaptureLeave(capture: number, rank: number): void
  /** `failure` is empty when this rank captured its part; returns the graph's id. */
  groupCaptureFinish(capture: number, rank: number, failure: string): number
}
