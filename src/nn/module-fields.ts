// What a module holds: its fields are walked for child modules and for tensors, through arrays, plain objects and the
// parts of a tensor that lies over several devices.
// Module alone calls this; it decides which of the tensors are parameters and which buffers.

/** Getter of an object whose tensors are a module's as its own fields would be: its parts, each on its device. */
export const partsOf = Symbol('parts')

/** One place that holds a module or a tensor: `holder[key]`, called `name` in the module. */
export interface Place<T> {
  name: string
  value: T
  holder: Record<string, unknown>
  key: string
  /** A part of a tensor over several devices: it stays where it is. */
  fixed: boolean
}

/** Places of instances of `kind` in the fields of `module`, in field order. Instances are not walked into. */
export function placesOf<T>(module: object, kind: abstract new (...args: any[]) => T): Place<T>[] {
  const out: Place<T>[] = []
  const seen = new Set<object>([module])
  const walk = (holder: object, prefix: string, fixed: boolean) => {
    for (const [key, value] of Object.entries(holder)) {
      if (typeof value !== 'object' || value === null) continue
      const name = prefix === '' ? key : `${prefix}.${key}`
      if (value instanceof kind) {
        out.push({ name, value, holder: holder as Record<string, unknown>, key, fixed })
      } else if (hasParts(value)) {
        walk(value[partsOf], name, true)
      } else if (isContainer(value) && !seen.has(value)) {
        seen.add(value)
        walk(value, name, fixed)
      }
    }
  }
  walk(module, '', false)
  return out
}

function hasParts(value: object): value is { [partsOf]: object } {
  return partsOf in value
}

function isContainer(value: object): boolean {
  if (Array.isArray(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
