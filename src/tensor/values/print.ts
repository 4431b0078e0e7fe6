// Tensors as text. describe() and inspect() answer at once: without values, or with those that lie ready in host
// memory. format() and print() wait for the device.
import { native } from '../../native/addon.js'
import { viewOf } from '../dtype.js'
import type { Tensor } from '../tensor.js'
import type { NestedArray } from './nested.js'
import { nest } from './nested.js'
import { scalarsOf, toArray } from './read.js'

/** Shape, dtype and device in one line, or "Tensor(disposed)". */
export function describe(a: Tensor): string {
  if (a.disposed) return 'Tensor(disposed)'
  const history = a.gradFn ? `, gradFn=${a.gradFn}` : a.requiresGrad ? ', requiresGrad' : ''
  return `Tensor([${a.shape.join(', ')}], ${a.dtype}, ${a.device}${history})`
}

/** How values are shown. */
export interface FormatOptions {
  /** Significant digits. Default 4. */
  digits?: number
  /** Longer dimensions show their first and last so many elements. Default 3. */
  edge?: number
}

/** Beyond so many elements inspect() does not copy them. */
const mostInspected = 4096

/**
 * What console.log(a) shows. Never waits: values are there when the tensor lies in host memory and no device has work
 * left; else the line says how to see them.
 */
export function inspect(a: Tensor): string {
  const line = describe(a)
  if (a.disposed) return line
  const bytes = a.numel <= mostInspected ? native.peek(a.handle) : null
  if (bytes === null) return `${line} (await x.print() shows values)`
  const half = a.dtype === 'f16' || a.dtype === 'bf16'
  const values = scalarsOf(viewOf(bytes, half ? 'f32' : a.dtype), a.dtype)
  return `${formatNested(nest(values, a.shape), 4, 3)}\n${line}`
}

/** Values and description as text. Waits for the device: `await` it. */
export async function format(a: Tensor, options: FormatOptions = {}): Promise<string> {
  const line = describe(a)
  return `${formatNested(await toArray(a), options.digits ?? 4, options.edge ?? 3)}\n${line}`
}

/** Writes format() to the console once the device has the values: `await` it to know that it was written. */
export async function print(a: Tensor, options: FormatOptions = {}): Promise<void> {
  console.log(await format(a, options))
}

/** @internal Nested arrays as text. */
export function formatNested(
  value: NestedArray,
  digits: number,
  edge: number,
  indent = '',
): string {
  if (!Array.isArray(value)) return formatScalar(value, digits)
  const hidden = value.length > 2 * edge
  const shown = hidden ? [...value.slice(0, edge), ...value.slice(-edge)] : value
  const inner = shown.map((item) => formatNested(item, digits, edge, `${indent} `))
  if (hidden) inner.splice(edge, 0, '…')
  const flat = value.every((item) => !Array.isArray(item))
  return `[${inner.join(flat ? ', ' : `,\n${indent} `)}]`
}

function formatScalar(value: number | boolean | bigint, digits: number): string {
  if (typeof value !== 'number' || Number.isInteger(value)) return String(value)
  return String(Number(value.toPrecision(digits)))
}
