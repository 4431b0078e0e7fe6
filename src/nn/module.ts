// Module, the base of every layer and model: it finds parameters, buffers and children among an object's own
// fields (module-fields.ts), so a model is a class with fields. Used by layers, optimizers, the trainer and users.

import { noGrad } from '../autograd/no-grad.js'
import { DisposedError, DtypeError, ShapeError, UsageError } from '../native/errors.js'
import { isFloating } from '../tensor/dtype.js'
import { type Target, targetOf } from '../tensor/operators/conversion.js'
import { isParameter, markParameter } from '../tensor/parameter-mark.js'
import { disposeAll, keep } from '../tensor/scope/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { type Place, placesOf } from './module-fields.js'

const buffersOf = new WeakMap<Module, Set<string>>()

/** A parameter or buffer, where it lies. */
interface StatePlace extends Place<Tensor> {
  buffer: boolean
}

/**
 * A part of a model. Fields are looked at, and arrays and plain objects in them:
 *  - a Module is a child;
 *  - a tensor that was asked for gradients (nn.parameter(), requiresGrad_()) is a parameter, also while it is frozen
 *    by requiresGrad_(false);
 *  - a distributed tensor that was asked for gradients is one parameter a part, named `weight.0`, `weight.1`, … by
 *    position on its mesh;
 *  - a tensor given to registerBuffer() is a buffer: saved, moved and freed with the module, but not trained.
 * Other tensors, such as a result of forward() kept to look at, are not the module's, nor is what lies in private
 * (#) fields. The module owns its parameters and buffers: they outlive scopes, and `dispose()` frees them.
 */
export abstract class Module {
  /** True while training: dropout drops, false: it passes everything. */
  training = true

  /** What the module computes; each module's own takes and returns what its class says. Enqueues, never waits. */
  abstract forward(...inputs: any[]): any

  /** Stores `tensor` as a field that is saved in the state dict but not trained; it outlives scopes. */
  protected registerBuffer(name: string, tensor: Tensor): void {
    if (!(tensor instanceof Tensor)) {
      throw new UsageError(`registerBuffer: ${name} must be a Tensor`, { name })
    }
    const names = buffersOf.get(this) ?? new Set<string>()
    names.add(name)
    buffersOf.set(this, names)
    ;(this as Record<string, unknown>)[name] = keep(tensor)
  }

  /** Direct children with their names; elements of an array field are `field.0`, `field.1`, … */
  namedChildren(): [string, Module][] {
    return placesOf(this, Module).map(({ name, value }) => [name, value])
  }

  /** This module and all below it, each once, parents first, with dotted names ('' is this one). */
  namedModules(prefix = ''): [string, Module][] {
    const out: [string, Module][] = []
    const seen = new Set<Module>()
    const walk = (module: Module, path: string) => {
      if (seen.has(module)) return
      seen.add(module)
      out.push([path, module])
      for (const [name, child] of module.namedChildren())
        walk(child, path ? `${path}.${name}` : name)
    }
    walk(this, prefix)
    return out
  }

  /**
   * Every parameter once, frozen or not, in field order, with its dotted name. Shared ones appear under their first
   * name. @throws DisposedError  one was disposed of
   */
  namedParameters(): [string, Tensor][] {
    return this.#named(false)
  }

  /** All parameters, in the order of namedParameters(). @throws DisposedError  one was disposed of */
  parameters(): Tensor[] {
    return this.namedParameters().map(([, tensor]) => tensor)
  }

  /** Tensors that are state but no parameters, with their dotted names. */
  namedBuffers(): [string, Tensor][] {
    return this.#named(true)
  }

  #named(buffer: boolean): [string, Tensor][] {
    const out = new Map<Tensor, string>()
    for (const place of this.#places()) {
      if (place.buffer !== buffer || out.has(place.value)) continue
      if (place.value.disposed) {
        throw new DisposedError(`${place.name} of the module was disposed of`, { name: place.name })
      }
      out.set(place.value, place.name)
    }
    return Array.from(out, ([tensor, name]) => [name, tensor])
  }

  #places(): StatePlace[] {
    return this.namedModules().flatMap(([path, module]) => {
      const buffers = buffersOf.get(module)
      return placesOf(module, Tensor).flatMap((place) => {
        const buffer = buffers?.has(place.name) ?? false
        if (!buffer && !isParameter(place.value)) return []
        return [{ ...place, buffer, name: path ? `${path}.${place.name}` : place.name }]
      })
    })
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

  /** Parameters, frozen ones too, and buffers by name. The tensors stay the module's: clone what is to be kept. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries([...this.namedParameters(), ...this.namedBuffers()])
  }

  /**
   * Copies values into the parameters and buffers, in place; dtypes and devices may differ. Checks everything first:
   * when it throws, nothing has changed.
   * @returns names of the module that `state` lacks, and names of `state` that the module has not: both empty unless
   * `strict` is false
   * @throws UsageError  names are missing or unexpected (all are listed) and `strict` is not false
   * @throws ShapeError  a shape differs
   */
  loadStateDict(
    state: Record<string, Tensor>,
    options: { strict?: boolean } = {},
  ): { missing: string[]; unexpected: string[] } {
    const own = this.stateDict()
    const missing = Object.keys(own).filter((name) => !Object.hasOwn(state, name))
    const unexpected = Object.keys(state).filter((name) => !Object.hasOwn(own, name))
    if (options.strict !== false && missing.length + unexpected.length > 0) {
      throw new UsageError(
        `loadStateDict: missing ${missing.join(', ') || 'none'}; unexpected ${unexpected.join(', ') || 'none'}`,
        { missing, unexpected },
      )
    }
    const names = Object.keys(own).filter((name) => Object.hasOwn(state, name))
    for (const name of names) requireFits(name, state[name], own[name] as Tensor)
    noGrad(() => {
      for (const name of names) (own[name] as Tensor).copy_(state[name] as Tensor)
    })
    return { missing, unexpected }
  }

  /** Removes every parameter's gradient. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.zeroGrad()
  }

  /**
   * Moves parameters and buffers to a device or floating dtype; integer buffers keep their dtype. A tensor that must
   * change is replaced, without its gradient: make the optimizer afterwards. One that is there already stays. When it
   * throws, for example for want of memory, nothing has changed.
   * @throws UsageError  a device, while a part of a distributed tensor lies on another: these take a dtype alone
   */
  to(target: Target): this {
    const places = this.#places()
    const { device } = targetOf(target)
    const bound = places.find(
      ({ fixed, value }) => fixed && device !== undefined && value.device !== device,
    )
    if (bound !== undefined) {
      throw new UsageError(
        `to: ${bound.name} is part of a tensor over several devices and stays on ${bound.value.device}; ` +
          'give a dtype alone, or make the module over another mesh',
        { name: bound.name },
      )
    }
    const moved = new Map<Tensor, Tensor>()
    try {
      for (const { value } of places) {
        if (!moved.has(value)) moved.set(value, movedTensor(value, target))
      }
    } catch (error) {
      for (const [old, next] of moved) if (next !== old) next.dispose()
      throw error
    }
    for (const { value, holder, key } of places) holder[key] = moved.get(value)
    disposeAll([...moved].flatMap(([old, next]) => (next === old ? [] : [old])))
    return this
  }

  /** Frees every parameter and buffer. Idempotent. */
  dispose(): void {
    disposeAll(this.#places().map(({ value }) => value))
  }

  /** As dispose(), for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

function requireFits(name: string, value: unknown, own: Tensor): void {
  if (!(value instanceof Tensor)) {
    throw new UsageError(`loadStateDict: ${name} must be a Tensor`, { name })
  }
  const [given, wanted] = [value.shape.join(', '), own.shape.join(', ')]
  if (given === wanted) return
  throw new ShapeError(`loadStateDict: ${name} has shape [${given}], the module's is [${wanted}]`, {
    name,
    shape: [...value.shape],
    expected: [...own.shape],
  })
}

/** `old` itself where it fits the target, else a new leaf like it there, outside all scopes. */
function movedTensor(old: Tensor, target: Target): Tensor {
  const wanted = targetOf(target)
  if (wanted.dtype !== undefined && !isFloating(wanted.dtype)) {
    throw new DtypeError(`a module takes a floating dtype, not ${wanted.dtype}`)
  }
  const dtype = isFloating(old.dtype) ? (wanted.dtype ?? old.dtype) : old.dtype
  const device = wanted.device ?? old.device
  if (dtype === old.dtype && device === old.device) return old
  const next = keep(noGrad(() => old.to({ dtype, device })))
  if (isParameter(old)) markParameter(next)
  return old.requiresGrad ? next.requiresGrad_() : next
}
