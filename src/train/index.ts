// The public names of the trainer.
export { type CoordinationCost, measureCoordination } from './coordination.js'
export type { Metrics, ProgressReport, TrainEvent, TrainResult } from './events.js'
export type { TrainerOptions } from './options.js'
export { type StopListener, type Stoppable, stopOnSignals } from './stop.js'
export {
  type Batch,
  type BatchSource,
  type DataRequest,
  defineTask,
  type FinishContext,
  type HostBatch,
  type HostTensor,
  type SchedulePoint,
  type Task,
  type TaskDefaults,
  type TaskDefinition,
  type TaskOptimizer,
} from './task.js'
export { Trainer } from './trainer.js'
