// What a run keeps on each device, by what it is for. Workers measure it at the end of a run; results and `weft train`
// show it. Pure.
import { byteLength } from '../checkpoint/safetensors.js'
import type { Tensor } from '../tensor/tensor.js'

/** Memory of one rank's device, in bytes. */
export interface DeviceUse {
  device: string
  /** Over so many ranks gradients and optimizer state are cut; 1: this one has them whole. */
  shards: number
  /** The most that was allocated there at once, since the process opened the device: activations too. */
  peakBytes: number
  /** Parameters, trained or frozen, and buffers. */
  parameterBytes: number
  /** Averaged gradients, between a step's reduction and its update: with shards this rank's share. */
  gradientBytes: number
  /** Tensors of the optimizer: with shards for this rank's share. */
  optimizerBytes: number
}

/** Bytes of tensors that share no memory. */
export function bytesOf(tensors: Iterable<Tensor>): number {
  let bytes = 0
  for (const tensor of tensors) bytes += byteLength(tensor)
  return bytes
}
