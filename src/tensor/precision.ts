// The precision of f32 products on GPUs. Users call it; the host driver always computes exactly in f32.
import { native } from '../native/addon.js'

/**
 * Lets f32 products (matmul, linear, attention) on GPUs use TF32 tensor cores: factors keep 10 bits of mantissa,
 * sums are f32. On by default; off, products are exact f32 and several times slower. Holds for the whole process
 * from the next call on.
 */
export function allowTf32(allowed: boolean): void {
  native.setTf32(allowed)
}

/** May f32 products use TF32? */
export function tf32Allowed(): boolean {
  return native.tf32()
}
