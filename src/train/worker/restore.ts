// What a rank takes over from a checkpoint before its first step: parameters and buffers, the optimizer's state, its
// place in the data, its random state. replica.ts calls these in that order. And what it tells for the next one.
import { join } from 'node:path'
import { noGrad } from '../../autograd/no-grad.js'
import { OPTIMIZER, WEIGHTS } from '../../checkpoint/manifest.js'
import { SafetensorsReader } from '../../checkpoint/safetensors-file.js'
import { CheckpointError, UsageError } from '../../native/errors.js'
import { Optimizer } from '../../optim/optimizer.js'
import type { OptimizerState } from '../../optim/state.js'
import { fromBytes } from '../../tensor/operators/factory.js'
import { disposeAll } from '../../tensor/scope/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { TaskOptimizer } from '../task.js'
import type { MixedPrecision } from './mixed-precision.js'
import type { OptimizerRecord, ResumeState } from './protocol.js'
import type { Elementwise } from './sharded-optimizer.js'
import type { ShardedState } from './sharded-state.js'
import type { NamedTensor } from './state.js'
import { inTask } from './task-call.js'

/** Copies a checkpoint's values into parameters and buffers; the coordinator has compared names and shapes. */
export async function restoreWeights(
  { folder }: ResumeState,
  state: NamedTensor[],
  device: string,
): Promise<void> {
  const reader = await SafetensorsReader.open(join(folder, WEIGHTS))
  try {
    for (const { name, tensor } of state) {
      const { dtype, shape, bytes } = await reader.read(name)
      const value = fromBytes(bytes, { dtype, shape, device })
      noGrad(() => void tensor.copy_(value))
      value.dispose()
    }
  } finally {
    await reader.close()
  }
}

/** Before the names of a loss scaler's tensors in the optimizer's file. */
const SCALER = 'precision.'

const named = (tensors: Record<string, Tensor>, prefix: string): NamedTensor[] =>
  Object.entries(tensors).map(([name, tensor]) => ({ name: prefix + name, tensor }))

/** The optimizer's tensors of its file. */
export const optimizerTensors = (optimizer: TaskOptimizer) =>
  named(optimizerState(optimizer).tensors, '')

/** Those of the loss scaler, where there is one: they follow the optimizer's. */
export const scalerTensors = (precision: MixedPrecision) => named(precision.stateDict(), SCALER)

/**
 * Loads the state of the optimizer, or of this rank's share of it, and of the loss scaler. Throws CheckpointError naming what differs from the
 * optimizer that was saved.
 */
export async function restoreOptimizer(
  { folder, optimizer: saved }: ResumeState,
  optimizer: TaskOptimizer,
  precision: MixedPrecision,
  names: Map<Tensor, string>,
  device: string,
  sharded: { state: ShardedState; optimizer: Elementwise } | undefined,
): Promise<void> {
  const now = optimizerRecord(optimizer, names)
  const differs = optimizerDifference(saved, now)
  if (differs !== undefined) {
    throw new CheckpointError(`${folder} does not fit the task: ${differs}`, { path: folder })
  }
  const tensors: Record<string, Tensor> = {}
  const scaler: Record<string, Tensor> = {}
  const reader = await SafetensorsReader.open(join(folder, OPTIMIZER))
  try {
    const cut: string[] = []
    for (const name of reader.header.tensors.keys()) {
      if (sharded !== undefined && !name.startsWith(SCALER)) {
        cut.push(name)
        continue
      }
      const { dtype, shape, bytes } = await reader.read(name)
      const tensor = fromBytes(bytes, { dtype, shape, device })
      if (name.startsWith(SCALER)) scaler[name.slice(SCALER.length)] = tensor
      else tensors[name] = tensor
    }
    if (sharded === undefined) {
      const state: OptimizerState = { ...saved, tensors }
      inTask('task.optimizer', () => optimizer.loadStateDict?.(state))
    } else {
      await sharded.state.load(saved, cut, async (name) => (await reader.read(name)).bytes)
    }
    precision.loadStateDict(scaler, sharded?.optimizer ?? optimizer)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    throw new CheckpointError(`${folder} does not fit the task: ${error.message}`, { path: folder })
  } finally {
    await reader.close()
    disposeAll([...Object.values(tensors), ...Object.values(scaler)])
  }
}

function optimizerDifference(saved: OptimizerRecord, now: OptimizerRecord): string | undefined {
  if (saved.kind !== now.kind) return `its optimizer is ${saved.kind}, the task's is ${now.kind}`
  if (saved.groups.length !== now.groups.length) {
    return `its optimizer has ${saved.groups.length} groups, the task's has ${now.groups.length}`
  }
  for (const [g, group] of saved.groups.entries()) {
    const other = now.groups[g]!
    const at = Array.from({ length: Math.max(group.length, other.length) }, (_, p) => p).find(
      (p) => group[p] !== other[p],
    )
    if (at === undefined) continue
    const [was, is] = [group[at] ?? 'missing', other[at] ?? 'missing']
    return `parameter ${at} of the optimizer's group ${g} is ${was} in it, ${is} in the task`
  }
  return undefined
}

/** The optimizer's state as the manifest keeps it: all but the tensors. Throws UsageError where it has none. */
export function optimizerRecord(
  optimizer: TaskOptimizer,
  names: Map<Tensor, string>,
): OptimizerRecord {
  const { kind, steps, counts } = optimizerState(optimizer)
  const groups = optimizer instanceof Optimizer ? optimizer.groups : []
  return {
    kind,
    steps,
    counts,
    groups: groups.map(({ params }) => params.map((p) => names.get(p as Tensor) ?? 'another')),
  }
}

/** Throws UsageError where the task's optimizer has no state to save and load. */
export function optimizerState(optimizer: TaskOptimizer): OptimizerState {
  if (optimizer.stateDict && optimizer.loadStateDict) {
    return inTask('task.optimizer', () => optimizer.stateDict!())
  }
  throw new UsageError(
    'task.optimizer returned an optimizer without stateDict() and loadStateDict(): checkpoints need both',
    { part: 'optimizer' },
  )
}
