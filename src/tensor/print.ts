// Tensors as text: describe() at once without values, print() with them.

import type { NestedArray } from './nested.js'
import { toArray } from './read.js'
import type { Tensor } from './tensor.js'

/** Shape, dtype and device in one line, or "Tensor(disposed)". */
export function describe(a: Tensor): string {
  if (a.disposed) return 'Tensor(disposed)'
  const history = a.gradFn ? `, gradFn=${a.gradFn}` : a.requiresGrad ? ', requiresGrad' : ''
  return `Tensor([${a.shape.join(', ')}], ${a.dtype}, ${a.device}${history})`
}

/**
 * Values and description; long dimensions show their first and last `edge` elements. Waits for the
 * device.
 */
export async function print(
  a: Tensor,
  options: { digits?: number; edge?: number } = {},
): Promise<string> {
  const line = describe(a)
  return `${formatNested(await toArray(a), options.digits ?? 4, options.edge ?? 3)}\n${line}`
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
