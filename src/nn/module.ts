// Module, the base of every layer and model: it finds parameters, buffers and children among an object's own
// properties, so a model is a class with fields. Used by layers, optimizers, the trainer and users.

import { noGrad } from '../autograd/no-grad.js'
import { UsageError } from '../native/errors.js'
import type { DType } from '../tensor/dtype.js'
import { Tensor } from '../tensor/tensor.js'

const buffersOf = new WeakMap<Module, Set<string>>()

/**
 * A part of a model. Fields that hold a Tensor which requires gradients are parameters; fields named in
 * `registerBuffer` are saved but not trained; fields that hold a Module, or an array of Modules, are children.
 * The module owns its tensors: `dispose()` frees them.
 */
export abstract class Module {
  /** True while training: dropout drops, false: it passes everything. */
  training = true

  abstract forward(...inputs: any[]): any

  /** Stores `tensor` as a field that is saved in the state dict but not trained. */
  protected registerBuffer(name: string, tensor: Tensor): void {
    const names = buffersOf.get(this) ?? new Set<string>()
    names.add(name)
    buffersOf.set(this, names)
    ;(this as Record<string, unknown>)[name] = tensor
  }

  /** Direct children with their names; elements of an array field are `field.0`, `field.1`, … */
  namedChildren(): [string, Module][] {
    const out: [string, Module][] = []
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) out.push([name, value])
      else if (Array.isArray(value)) {
        for (const [i, v] of value.entries()) if (v instanceof Module) out.push([`${name}.${i}`, v])
      }
    }
    return out
  }

  /** This module and all below it, parents first, with dotted names ('' is this one). */
  namedModules(prefix = ''): [string, Module][] {
    const out: [string, Module][] = [[prefix, this]]
    for (const [name, child] of this.namedChildren()) {
      out.push(...child.namedModules(prefix ? `${prefix}.${name}` : name))
    }
    return out
  }

  /** Every parameter once, in field order, with its dotted name. Shared ones appear under their first name. */
  namedParameters(): [string, Tensor][] {
    return this.#tensors((module, name, value) => {
      return value.requiresGrad && !buffersOf.get(module)?.has(name)
    })
  }

  parameters(): Tensor[] {
    return this.namedParameters().map(([, tensor]) => tensor)
  }

  namedBuffers(): [string, Tensor][] {
    return this.#tensors((module, name) => buffersOf.get(module)?.has(name) ?? false)
  }

  #tensors(wanted: (module: Module, name: string, value: Tensor) => boolean): [string, Tensor][] {
    const out: [string, Tensor][] = []
    const seen = new Set<Tensor>()
    for (const [path, module] of this.namedModules()) {
      for (const [name, value] of Object.entries(module)) {
        if (!(value instanceof Tensor) || seen.has(value) || !wanted(module, name, value)) continue
        seen.add(value)
        out.push([path ? `${path}.${name}` : name, value])
      }
    }
    return out
  }

  /** Sets training mode here and below. */
  train(on = true): this {
    for (const [, module] of this.namedModules()) module.training = on
    return this
  }

  /** Ends training mode here and below. */
  eval(): this {
    return this.train(false)
  }

  /** Parameters and buffers by name. The tensors stay the module's: clone what is to be kept. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries([...this.namedParameters(), ...this.namedBuffers()])
  }

  /**
   * Copies values into the parameters and buffers, in place; dtypes and devices may differ.
   * @throws UsageError  names are missing or unknown (all are listed) and `strict` is not false
   * @throws ShapeError  a shape differs
   */
  loadStateDict(state: Record<string, Tensor>, options: { strict?: boolean } = {}): void {
    const own = this.stateDict()
    const missing = Object.keys(own).filter((name) => !(name in state))
    const unknown = Object.keys(state).filter((name) => !(name in own))
    if (options.strict !== false && missing.length + unknown.length > 0) {
      throw new UsageError(
        `loadStateDict: missing ${missing.join(', ') || 'none'}; unknown ${unknown.join(', ') || 'none'}`,
        { missing, unknown },
      )
    }
    noGrad(() => {
      for (const [name, tensor] of Object.entries(own)) {
        const value = state[name]
        if (value) tensor.copy_(value)
      }
    })
  }

  /** Removes every parameter's gradient. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.zeroGrad()
  }

  /**
   * Moves parameters and buffers to a device or floating dtype. Replaces the tensors: make the optimizer
   * afterwards. Integer buffers keep their dtype.
   */
  to(target: string | { dtype?: DType; device?: string }): this {
    const moved = new Map<Tensor, Tensor>()
    for (const [, module] of this.namedModules()) {
      for (const [name, value] of Object.entries(module)) {
        if (!(value instanceof Tensor)) continue
        let next = moved.get(value)
        if (!next) {
          const trains = value.requiresGrad
          next = noGrad(() => value.detach().to(target).clone())
          if (trains) next.requiresGrad_()
          moved.set(value, next)
        }
        ;(module as unknown as Record<string, Tensor>)[name] = next
      }
    }
    for (const old of moved.keys()) old.dispose()
    return this
  }

  /** Frees every parameter and buffer. Idempotent. */
  dispose(): void {
    for (const tensor of Object.values(this.stateDict())) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
