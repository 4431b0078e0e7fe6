// What the parts of a task must return, checked where the worker receives it: a fault of the task is a
// UsageError that names the part, what came and what to return instead.
import { UsageError } from '../../native/errors.js'
import { Module } from '../../nn/module.js'
import { Tensor } from '../../tensor/tensor.js'
import type { HostBatch, TaskOptimizer } from '../task.js'

/** A value as a sentence names it: 'undefined', 'an array', 'a Promise (is an await missing?)'. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  if (value instanceof Promise) return 'a Promise (it may not be async)'
  if (value instanceof Tensor) return `a tensor of shape [${value.shape.join(', ')}]`
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value === 'function') return 'a function'
  if (typeof value !== 'object') return `a ${typeof value}`
  const name = (Object.getPrototypeOf(value) as object | null)?.constructor?.name
  return name === undefined || name === 'Object' ? 'a plain object' : `an object of ${name}`
}

function wrong(part: string, wanted: string, got: unknown): UsageError {
  return new UsageError(`task.${part} must return ${wanted}, not ${describeValue(got)}`, { part })
}

export function requireModel(model: unknown): asserts model is Module {
  if (model instanceof Module) return
  throw wrong('model', 'a model, an object of a class that extends nn.Module', model)
}

export function requireOptimizer(value: unknown): asserts value is TaskOptimizer {
  const optimizer = value as Partial<TaskOptimizer> | null | undefined
  const wanted =
    'an optimizer with step(), dispose() and a number lr, such as optim.adamw(parameters)'
  if (typeof optimizer?.step !== 'function' || typeof optimizer.dispose !== 'function') {
    throw wrong('optimizer', wanted, value)
  }
  if (typeof optimizer.lr === 'number' && Number.isFinite(optimizer.lr)) return
  throw new UsageError(
    `task.optimizer must return ${wanted}; its lr is ${describeValue(optimizer.lr)}`,
    { part: 'optimizer' },
  )
}

/** The factor that a schedule returned for `step` (from 0). */
export function requireFactor(factor: unknown, step: number): number {
  if (typeof factor === 'number' && Number.isFinite(factor) && factor >= 0) return factor
  throw new UsageError(
    `task.schedule returned ${describeValue(factor)} for step ${step}: it must return the factor of the ` +
      "optimizer's learning rate, a finite number from 0 on",
    { part: 'schedule', step },
  )
}

/** What loss returned for a batch: the loss, and the metrics beside it. */
export function requireLoss(value: unknown): {
  loss: Tensor
  metrics: Record<string, Tensor | number>
} {
  if (value instanceof Tensor && value.numel === 1) return { loss: value, metrics: {} }
  const { loss, metrics = {} } = (value ?? {}) as { loss?: unknown; metrics?: unknown }
  const isPair =
    !(value instanceof Tensor) && loss instanceof Tensor && loss.numel === 1 && isRecord(metrics)
  if (isPair) return { loss, metrics: metrics as Record<string, Tensor | number> }
  throw wrong('loss', 'a tensor with one element, the mean over the batch', value)
}

function isRecord(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** One batch, as the data yielded it. */
export function requireBatch(batch: unknown): asserts batch is HostBatch {
  if (
    typeof batch !== 'object' ||
    batch === null ||
    Array.isArray(batch) ||
    batch instanceof Tensor
  ) {
    throw new UsageError(
      `task.data yielded ${describeValue(batch)} as a batch: yield an object with an entry a name, ` +
        'such as { images: { data: new Float32Array(…), shape: [32, 784] } }',
      { part: 'data' },
    )
  }
  const entries = Object.entries(batch)
  if (entries.length === 0) throw new UsageError('task.data yielded a batch without entries')
  for (const [name, entry] of entries) requireEntry(name, entry)
}

function requireEntry(name: string, entry: unknown): void {
  if (entry instanceof Tensor) return
  const { data, shape } = (entry ?? {}) as { data?: unknown; shape?: unknown }
  if (!ArrayBuffer.isView(data) || data instanceof DataView) {
    const got = data === undefined ? describeValue(entry) : `data that is ${describeValue(data)}`
    throw new UsageError(
      `task.data yielded ${name}, which is ${got}: each entry of a batch must be a Tensor or ` +
        '{ data: a typed array, shape }, such as { data: Float32Array.from(values), shape: [32, 10] }',
      { part: 'data', entry: name },
    )
  }
  const sizes = Array.isArray(shape) ? shape : undefined
  if (!sizes?.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new UsageError(
      `task.data yielded ${name} with shape ${JSON.stringify(shape)}: it must be an array of whole sizes`,
      { part: 'data', entry: name },
    )
  }
  const needed = sizes.reduce((count, size) => count * size, 1)
  const { length } = data as Uint8Array
  if (needed === length) return
  throw new UsageError(
    `task.data yielded ${name} of shape [${sizes.join(', ')}], which has ${needed} elements, with ` +
      `${length} elements of data`,
    { part: 'data', entry: name },
  )
}

/** What evaluate returned for a batch. */
export function requireMetrics(metrics: unknown): Record<string, Tensor | number> {
  if (typeof metrics !== 'object' || metrics === null || metrics instanceof Promise) {
    throw wrong('evaluate', 'an object of sums with `count`, what they are sums over', metrics)
  }
  if ((metrics as { count?: unknown }).count === undefined) {
    throw new UsageError('task.evaluate must return sums with `count`, what they are sums over', {
      part: 'evaluate',
    })
  }
  for (const [name, value] of Object.entries(metrics)) {
    if (typeof value === 'number' || (value instanceof Tensor && value.numel === 1)) continue
    throw new UsageError(
      `task.evaluate returned ${name}: ${describeValue(value)}; each sum must be a number or a tensor ` +
        'with one element',
      { part: 'evaluate', entry: name },
    )
  }
  return metrics as Record<string, Tensor | number>
}
