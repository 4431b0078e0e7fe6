// Operators of plugins: `ops.ns.op(x, y, { alpha: 2 })`. Names and schemas come from the addon when an
// operator is first called, and again when its name is not known any more or not yet; arguments are
// checked by the schema, then go the way of every operator call (invoke.ts).
import { native, words } from '../../native/addon.js'
import { PluginError, UsageError } from '../../native/errors.js'
import type { Tensor } from '../tensor.js'
import { handleOf, writeInts, writeTensors } from './invoke.js'
import { makeTensor } from './make.js'

/** An operator of a plugin: arguments in the order of its schema, or the last ones by name in an object. */
export type PluginOperator = (...args: unknown[]) => Tensor | Tensor[]

interface Argument {
  type: string
  name: string
  default: number | boolean | undefined
}

interface Known {
  op: number
  schema: string
  args: Argument[]
  results: number
}

function parse(op: number, schema: string): [name: string, known: Known] {
  const [, name = '', list = '', results] = /^(.*?)\((.*)\) -> (\d)$/.exec(schema) ?? []
  const args = list.split(', ').map((one): Argument => {
    const [, type = '', argument = '', given] = /^(\S+) (\w+)(?: = (.*))?$/.exec(one) ?? []
    const value = given === undefined ? undefined : (JSON.parse(given) as number | boolean)
    return { type, name: argument, default: value }
  })
  return [name, { op, schema, args, results: Number(results) }]
}

function find(name: string): Known {
  const all = new Map(native.pluginOperators().map(([op, schema]) => parse(op, schema)))
  const known = all.get(name)
  if (known !== undefined) return known
  const there = [...all.keys()].join(', ') || 'none'
  throw new PluginError(
    `no plugin brought an operator ${name} (there are: ${there}); fabric.loadPlugin(path) loads one`,
  )
}

function isNamed(value: unknown): value is Record<string, unknown> {
  return (
    value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype
  )
}

/** Values by position of the schema; an object at the end names the rest. */
function arrange({ schema, args }: Known, given: unknown[]): unknown[] {
  const last = given.at(-1)
  const named = isNamed(last) ? last : {}
  const positional = isNamed(last) ? given.slice(0, -1) : given
  if (positional.length > args.length) throw new UsageError(`too many arguments for ${schema}`)
  for (const name of Object.keys(named)) {
    const at = args.findIndex((each) => each.name === name)
    if (at < 0) throw new UsageError(`${schema} has no argument ${name}`)
    if (at < positional.length) throw new UsageError(`${schema}: ${name} is given twice`)
  }
  return args.map((each, i) => {
    const value = (i < positional.length ? positional[i] : named[each.name]) ?? each.default
    if (value !== undefined || each.type === 'Tensor?') return value
    throw new UsageError(`${schema}: ${each.name} is missing`)
  })
}

function numberFor(schema: string, { type, name }: Argument, value: unknown): number {
  const fits =
    type === 'bool'
      ? typeof value === 'boolean'
      : typeof value === 'number' && (type === 'float' || Number.isSafeInteger(value))
  if (!fits) throw new UsageError(`${schema}: ${name} must be ${type}, not ${String(value)}`)
  return Number(value)
}

function invoke(known: Known, given: unknown[]): Tensor | Tensor[] {
  const values = arrange(known, given)
  let at = 0
  known.args.forEach((each, i) => {
    const value = values[i]
    if (each.type === 'int[]') at = writeInts(at, value as number[])
    else if (each.type === 'Tensor[]') at = writeTensors(at, value as Tensor[])
    else if (!each.type.startsWith('Tensor')) words[at++] = numberFor(known.schema, each, value)
    else words[at++] = value === undefined ? 0 : handleOf(value as Tensor)
  })
  const first = native.call(known.op, at)
  if (known.results === 0) return values[0] as Tensor
  if (known.results === 1) return makeTensor(first)
  const further = Array.from(words.slice(0, known.results - 1))
  return [first, ...further].map((handle) => makeTensor(handle))
}

type Namespace = Record<string, PluginOperator>

function namespace(ns: string): Namespace {
  const known = new Map<string, PluginOperator>()
  const get = (_: object, op: string | symbol): PluginOperator | undefined => {
    if (typeof op === 'symbol') return undefined
    let call = known.get(op)
    if (call === undefined) {
      call = (...args) => invoke(find(`${ns}::${op}`), args)
      known.set(op, call)
    }
    return call
  }
  return new Proxy<Namespace>({}, { get })
}

const namespaces = new Map<string, Namespace>()

/** Operators that plugins brought: `ops.ns.op(…)` calls 'ns::op'. */
export const ops: Readonly<Record<string, Namespace>> = new Proxy<Record<string, Namespace>>(
  {},
  {
    get(_, ns) {
      if (typeof ns === 'symbol') return undefined
      let found = namespaces.get(ns)
      if (found === undefined) {
        found = namespace(ns)
        namespaces.set(ns, found)
      }
      return found
    },
  },
)
