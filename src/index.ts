// The public names of weft: `import { openFabric, tensor, … } from 'weft'`. docs/api.md lists them, and a
// test compares the two.

// Autograd
export type { AutocastDtype, AutocastOptions } from './autograd/autocast.js'
export { autocast, autocastDtype } from './autograd/autocast.js'
export { checkpoint } from './autograd/checkpoint.js'
export type { GradientHook } from './autograd/gradient.js'
export { backward } from './autograd/gradient.js'
export { enableGrad, gradEnabled, noGrad } from './autograd/no-grad.js'
// Models, optimizers, data and training
export type { LoadOptions, SafetensorsInfo } from './checkpoint/index.js'
export * as safetensors from './checkpoint/index.js'
export * as data from './data/index.js'
export type { ReduceOp } from './fabric/collective-call.js'
// Devices and groups
export type { DeviceChoice, DeviceName } from './fabric/device-names.js'
export type { DeviceInfo } from './fabric/devices.js'
export { defaultDevice, setDefaultDevice } from './fabric/devices.js'
export type { SnapshotEvent } from './fabric/event-record.js'
export type { EventOptions, EventStream } from './fabric/event-stream.js'
export type { FabricOptions, FabricStats, LogMode, Topology } from './fabric/fabric.js'
export { Fabric, openFabric } from './fabric/fabric.js'
export type { GemmChoices, GpuGemmChoices } from './fabric/gemm-choices.js'
export type { GroupOptions, GroupStats } from './fabric/group.js'
export { Group } from './fabric/group.js'
export { memory, memorySnapshot, releaseCached, setMemoryLimit } from './fabric/memory.js'
export type { DeviceMemory } from './fabric/memory-fields.js'
export type { MemoryBlock, MemorySegment } from './fabric/memory-snapshot.js'
export type {
  SnapshotAlgorithm,
  SnapshotArrival,
  SnapshotCall,
  SnapshotGraph,
  SnapshotGroup,
} from './fabric/open-calls.js'
export type { PluginInfo } from './fabric/plugins.js'
export type { ProbeOptions, ProbeSource } from './fabric/probe.js'
export { RankGroup } from './fabric/rank-group.js'
export { Snapshot } from './fabric/snapshot.js'
export type { SnapshotPool } from './fabric/snapshot-rows.js'
export type { Stream } from './fabric/stream.js'
export { createStream, currentStream, streamWait, withStream } from './fabric/stream.js'
export { synchronize } from './fabric/synchronize.js'
export { tag } from './fabric/tag.js'
export { TimedEvent } from './fabric/timed-event.js'
export { Work } from './fabric/work.js'
// Captured work
export type { CaptureOptions } from './graph/graph.js'
export { captureGraph, Graph } from './graph/graph.js'
// Several devices as one
export { autoRedistribute } from './mesh/apply.js'
export * as collectives from './mesh/collectives.js'
export { distribute, fromLocal } from './mesh/distribute.js'
export { DistributedTensor } from './mesh/distributed-tensor.js'
export * as distributed from './mesh/functional.js'
export type { MeshShape, Redistribution } from './mesh/mesh.js'
export { Mesh } from './mesh/mesh.js'
export type { ParallelLinearOptions } from './mesh/parallel-linear.js'
export { ColumnParallelLinear, RowParallelLinear } from './mesh/parallel-linear.js'
export type { PartialOp, Placement, Placements } from './mesh/placement.js'
export { partial, replicated, sharded } from './mesh/placement.js'
export { reduceGradients } from './mesh/reduce-gradients.js'
// Errors
export {
  CheckpointError,
  CollectiveTimeoutError,
  CudaError,
  DesyncError,
  DeviceError,
  DisposedError,
  DtypeError,
  FabricPoisonedError,
  GroupAbortedError,
  NonFiniteLossError,
  OutOfMemoryError,
  PeerAccessError,
  PlacementError,
  PluginError,
  ShapeError,
  UsageError,
  WeftError,
  WorkerError,
} from './native/errors.js'
export type { PairProbe, PathProbe } from './native/link-types.js'
export * as nn from './nn/index.js'
export * as optim from './optim/index.js'
export type { DType, HostArray, TensorData } from './tensor/dtype.js'
export type { TensorOptions } from './tensor/operators/factory.js'
export {
  arange,
  fromBytes,
  full,
  ones,
  onesLike,
  tensor,
  zeros,
  zerosLike,
} from './tensor/operators/factory.js'
// Tensors
export * as functional from './tensor/operators/functional.js'
export type { PluginOperator } from './tensor/operators/plugin-operators.js'
export { ops } from './tensor/operators/plugin-operators.js'
export type { GeneratorState } from './tensor/operators/random.js'
export {
  generatorState,
  manualSeed,
  rand,
  randint,
  randn,
  setGeneratorState,
} from './tensor/operators/random.js'
export { allowTf32, tf32Allowed } from './tensor/precision.js'
export { leaks, setDebug } from './tensor/scope/debug.js'
export { disposeAll, keep, scope } from './tensor/scope/scope.js'
export { Tensor } from './tensor/tensor.js'
export type { NestedArray, NestedInput } from './tensor/values/nested.js'
export type { FormatOptions } from './tensor/values/print.js'
export { format, print } from './tensor/values/print.js'
export type { CheckpointOptions } from './train/checkpoint-options.js'
export type { Metrics, ProgressReport, TrainEvent, TrainResult } from './train/events.js'
export type { EarlyStopOptions } from './train/loop-options.js'
export type { DeviceUse } from './train/memory-use.js'
export type { MeshOptions } from './train/mesh.js'
export type { TrainerOptions } from './train/options.js'
export type { Precision } from './train/precision.js'
export type { SinkOption, SinkText } from './train/sinks/sink-options.js'
export type { StopListener, Stoppable } from './train/stop.js'
export { stopOnSignals } from './train/stop.js'
export type {
  Batch,
  BatchSource,
  DataRequest,
  FinishContext,
  HostBatch,
  HostTensor,
  SchedulePoint,
  SharedArrays,
  StepContext,
  Task,
  TaskDefaults,
  TaskDefinition,
  TaskOptimizer,
} from './train/task.js'
export { defineTask } from './train/task.js'
export { Trainer } from './train/trainer.js'
