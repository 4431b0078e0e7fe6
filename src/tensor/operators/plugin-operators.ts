// Operators of plugins: `ops.ns.op(x, y, { alpha: 2 })`. Names and schemas come from the addon when an
// operator is first called, and again when its plugin was unloaded since; arguments are checked by the
// schema, then go the way of every operator call (invoke.ts).
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

function refuseNames({ schema, args }: Known, named: object, positional: number): void {
  for (const name of Object.keys(named)) {
    const at = args.findIndex((each) => each.name === name)
    if (at < 0) throw new UsageError(`${schema} has no argument ${name}`)
    if (at < positional) throw new UsageError(`${schema}: ${name} is given twice`)
  }
}

function numberFor(schema: string, { type, name }: Argument, value: unknown): number {
  const fits =
    type === 'bool'
      ? typeof value === 'boolean'
      : typeof value === 'number' && (type === 'float' || Number.isSafeInteger(value))
  if (!fits) throw new UsageError(`${schema}: ${name} must be ${type}, not ${String(value)}`)
  return Number(value)
}

/** Writes one argument at word `at`; the index after it. */
function write({ schema }: Known, argument: Argument, value: unknown, at: number): number {
  if (argument.type === 'int[]') return writeInts(at, value as number[])
  if (argument.type === 'Tensor[]') return writeTensors(at, value as Tensor[])
  const tensor = argument.type.startsWith('Tensor')
  if (tensor) words[at] = value === undefined ? 0 : handleOf(value as Tensor)
  else words[at] = numberFor(schema, argument, value)
  return at + 1
}

/** Writes the arguments of a call, of which an object at the end names the last; how many words. */
function writeAll(known: Known, given: readonly unknown[]): number {
  const { schema, args } = known
  const last = given[given.length - 1]
  const named = isNamed(last) ? last : undefined
  const positional = named === undefined ? given.length : given.length - 1
  if (positional > args.length) throw new UsageError(`too many arguments for ${schema}`)
  if (named !== undefined) refuseNames(known, named, positional)
  let at = 0
  for (let i = 0; i < args.length; i++) {
    const argument = args[i] as Argument
    const value = (i < positional ? given[i] : named?.[argument.name]) ?? argument.default
    if (value === undefined && argument.type !== 'Tensor?') {
      throw new UsageError(`${schema}: ${argument.name} is missing`)
    }
    at = write(known, argument, value, at)
  }
  return at
}

function invoke(known: Known, given: readonly unknown[]): Tensor | Tensor[] {
  const first = native.call(known.op, writeAll(known, given))
  if (known.results === 1) return makeTensor(first)
  if (known.results === 0) return written(known, given)
  const further = Array.from(words.slice(0, known.results - 1))
  return [first, ...further].map((handle) => makeTensor(handle))
}

/** What an operator without results changed: its first argument. */
function written({ args }: Known, given: readonly unknown[]): Tensor {
  const first = given[0]
  return (isNamed(first) ? first[args[0]!.name] : first) as Tensor
}

/** The operator's id may be gone, its plugin unloaded and loaded again, by any thread: then the new one is called. */
function makeCall(name: string): PluginOperator {
  let known: Known | undefined
  return (...given) => {
    if (known === undefined) return invoke((known = find(name)), given)
    try {
      return invoke(known, given)
    } catch (error) {
      if (!(error instanceof PluginError)) throw error
      const before = known
      known = undefined
      known = find(name)
      if (known.op === before.op) throw error
      return invoke(known, given)
    }
  }
}

type Namespace = Record<string, PluginOperator>

function namespace(ns: string): Namespace {
  const known = new Map<string, PluginOperator>()
  const get = (_: object, op: string | symbol): PluginOperator | undefined => {
    if (typeof op === 'symbol') return undefined
    let call = known.get(op)
    if (call === undefined) {
      call = makeCall(`${ns}::${op}`)
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
