// The state of a replica by name: what ranks compare, broadcast, hash and save. Used by replica.ts.
import { createHash } from 'node:crypto'
import type { SafetensorsEntry } from '../../checkpoint/safetensors.js'
import type { Module } from '../../nn/module.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { StateEntry } from './protocol.js'

/** A parameter or buffer and its name. */
export interface NamedTensor {
  name: string
  tensor: Tensor
}

/** Elements on the host, by name. */
export interface NamedBytes extends SafetensorsEntry {
  name: string
}

const named = (entries: Iterable<[string, Tensor]>): NamedTensor[] =>
  Array.from(entries, ([name, tensor]) => ({ name, tensor }))

/** A model's parameters in its own order, frozen ones too. */
export function parametersOf(model: Module): NamedTensor[] {
  return named(model.namedParameters())
}

/** A model's buffers in its own order. */
export function buffersOf(model: Module): NamedTensor[] {
  return named(model.namedBuffers())
}

/** What other ranks compare. */
export function entriesOf(state: NamedTensor[]): StateEntry[] {
  return state.map(({ name, tensor }) => ({
    name,
    shape: [...tensor.shape],
    dtype: tensor.dtype,
    frozen: !tensor.requiresGrad,
  }))
}

/** The elements of every tensor, read one after the other. */
export async function* readState(state: NamedTensor[]): AsyncGenerator<[string, SafetensorsEntry]> {
  for (const { name, tensor } of state) {
    const bytes = new Uint8Array(await tensor.bytes())
    yield [name, { dtype: tensor.dtype, shape: [...tensor.shape], bytes }]
  }
}

/** SHA-256 over names, dtypes, shapes and bits; the entries too where they are asked for. */
export async function hashState(state: NamedTensor[], keep: boolean) {
  const hash = createHash('sha256')
  const entries: Record<string, SafetensorsEntry> = {}
  for await (const [name, entry] of readState(state)) {
    hash.update(`${name} ${entry.dtype} [${entry.shape.join(',')}]\n`)
    hash.update(entry.bytes)
    if (keep) entries[name] = entry
  }
  return { hash: hash.digest('hex'), entries }
}
