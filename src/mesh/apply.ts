// Applying an operator to distributed tensors: along each axis its rule says from the operands'
// placements where the result lies; then every device computes its part. Placements that do not fit are
// a PlacementError naming the cheapest redistribution; nothing is moved unless automatic redistribution
// is on (autoRedistribute()), and then it is noted with its bytes.
import { deviceIndex } from '../fabric/devices.js'
import { native } from '../native/addon.js'
import { PlacementError, UsageError } from '../native/errors.js'
import { Op } from '../native/operators.js'
import { bytesPerElement } from '../tensor/dtype.js'
import { scope } from '../tensor/scope/scope.js'
import type { Tensor } from '../tensor/tensor.js'
import type { DistributedTensor } from './distributed-tensor.js'
import { makeDistributed } from './make.js'
import type { Redistribution } from './mesh.js'
import type { Placement } from './placement.js'
import { partial, placementText, replicated, samePlacement, sharded } from './placement.js'
import { redistributed, redistributionBytes } from './redistribute.js'

/** An operator over distributed operands. */
export interface Operation {
  name: string
  /** The operands' names in messages. */
  operands: readonly string[]
  /** Shape of the result. */
  shape: readonly number[]
  /** Where the result lies along an axis of `parts` devices; undefined: these placements do not fit. */
  rule(placed: readonly Placement[], parts: number): Placement | undefined
  /** One device's part; `placed` are the operands' placements by operand and axis. */
  compute(locals: Tensor[], position: number, placed: readonly (readonly Placement[])[]): Tensor
}

interface AutoScope {
  note: ((entry: Redistribution) => void) | undefined
}
let automatic: AutoScope | undefined

/**
 * Inside `fn`, operators whose operands' placements do not fit redistribute them by the cheapest way instead of
 * throwing. Each time `note` is called with what was done and the bytes that it moved to each device, and the event log
 * gets a record of kind redistribute that names the operator.
 */
export function autoRedistribute<T>(fn: () => T, note?: (entry: Redistribution) => void): T {
  const before = automatic
  automatic = { note }
  try {
    return fn()
  } finally {
    automatic = before
  }
}

/** The result of `operation` over `given`. */
export function apply(
  operation: Operation,
  given: readonly DistributedTensor[],
): DistributedTensor {
  const [first] = given as [DistributedTensor]
  const { mesh } = first
  for (const [i, operand] of given.entries()) {
    if (operand.mesh === mesh) continue
    throw new UsageError(
      `${operation.name}: ${operation.operands[i]} lies on ${operand.mesh}, ${operation.operands[0]} on ${mesh}; ` +
        'distribute both over one mesh',
    )
  }
  const placed: Placement[] = []
  for (let a = 0; a < mesh.axes.length; a++) {
    const result = resultAlong(operation, given, a)
    if (result === undefined || cutTwice(result, placed)) return withMoves(operation, given)
    placed.push(result)
  }
  const operandsPlaced = given.map((operand) => operand.placed)
  const locals = mesh.devices.map((_, p) =>
    scope(() =>
      operation.compute(
        given.map((operand) => operand.locals[p] as Tensor),
        p,
        operandsPlaced,
      ),
    ),
  )
  return makeDistributed(mesh, placed, operation.shape, locals)
}

function resultAlong(
  operation: Operation,
  given: readonly DistributedTensor[],
  axis: number,
): Placement | undefined {
  return operation.rule(
    given.map((operand) => operand.placed[axis] as Placement),
    (given[0] as DistributedTensor).mesh.shape[axis] as number,
  )
}

/** Whether another axis cuts the dimension of the result that this one cuts. */
function cutTwice(result: Placement, others: readonly (Placement | undefined)[]): boolean {
  if (result.kind !== 'sharded') return false
  return others.some((other) => other !== undefined && samePlacement(other, result))
}

/** What one operand must become. */
interface Move {
  operand: number
  to: Placement[]
  call: string
  bytes: number
}

function withMoves(operation: Operation, given: readonly DistributedTensor[]): DistributedTensor {
  const moves = cheapestMoves(operation, given)
  if (automatic === undefined || moves.length === 0) throw misfit(operation, given, moves)
  const moved = [...given]
  for (const { operand, to, call, bytes } of moves) {
    moved[operand] = redistributed(given[operand] as DistributedTensor, to)
    automatic.note?.({ operator: operation.name, call, bytes })
    const [device] = (given[0] as DistributedTensor).mesh.devices as [string]
    native.logRedistribution(deviceIndex(device), operatorNumber(operation.name), bytes)
  }
  const result = apply(operation, moved)
  for (const { operand } of moves) moved[operand]?.dispose()
  return result
}

const otherNames: Readonly<Record<string, string>> = { max: 'amax', min: 'amin', variance: 'var' }

/** Number of an operator for the event log; of none where it has no row of its own. */
function operatorNumber(name: string): number {
  const row = otherNames[name] ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
  return (Op as Readonly<Record<string, number>>)[row] ?? 0xffff
}

/** For each axis that does not fit, the placements that do and cost least, as one move an operand. */
function cheapestMoves(operation: Operation, given: readonly DistributedTensor[]): Move[] {
  const { mesh } = given[0] as DistributedTensor
  const to = given.map((operand) => [...operand.placed])
  const results = mesh.axes.map((_, a) => resultAlong(operation, given, a))
  mesh.axes.forEach((_, a) => {
    const present = results[a]
    if (present !== undefined && !cutTwice(present, results.slice(0, a))) return
    results[a] = undefined
    const found = cheapestAlong(operation, given, to, a, results)
    results[a] = found && operation.rule(found, mesh.shape[a] as number)
    found?.forEach((placement, i) => {
      ;(to[i] as Placement[])[a] = placement
    })
  })
  return given.flatMap((operand, i) => {
    const wanted = to[i] as Placement[]
    const axes = mesh.axes.flatMap((axis, a) => {
      const next = wanted[a] as Placement
      const same = samePlacement(next, operand.placed[a] as Placement)
      return same ? [] : [`${axis}: ${placementText(next)}`]
    })
    if (axes.length === 0) return []
    const call = `${operation.operands[i]}.redistribute({ ${axes.join(', ')} })`
    return [{ operand: i, to: wanted, call, bytes: bytesTo(operand, wanted) }]
  })
}

function cheapestAlong(
  operation: Operation,
  given: readonly DistributedTensor[],
  to: readonly Placement[][],
  axis: number,
  others: readonly (Placement | undefined)[],
): Placement[] | undefined {
  const parts = (given[0] as DistributedTensor).mesh.shape[axis] as number
  let best: { cost: number; changed: number; placed: Placement[] } | undefined
  const options = given.map((operand, i) => candidates(operand, to[i] as Placement[], axis))
  const pick = (i: number, placed: Placement[], cost: number, changed: number) => {
    if (best && (cost > best.cost || (cost === best.cost && changed >= best.changed))) return
    if (i === given.length) {
      const result = operation.rule(placed, parts)
      if (result !== undefined && !cutTwice(result, others)) best = { cost, changed, placed }
      return
    }
    for (const { placement, bytes } of options[i] as Candidate[]) {
      const same = samePlacement(placement, given[i]?.placed[axis] as Placement)
      pick(i + 1, [...placed, placement], cost + bytes, changed + (same ? 0 : 1))
    }
  }
  pick(0, [], 0, 0)
  return best?.placed
}

interface Candidate {
  placement: Placement
  bytes: number
}

function candidates(
  operand: DistributedTensor,
  to: readonly Placement[],
  axis: number,
): Candidate[] {
  const present = to[axis] as Placement
  const cuts = operand.shape.map((_, dim) => sharded(dim))
  const open = [replicated(), ...cuts, ...(present.kind === 'partial' ? [present] : [])]
  const free = open.filter(
    (p) => p.kind !== 'sharded' || to.every((other, b) => b === axis || !samePlacement(other, p)),
  )
  return free.map((placement) => ({ placement, bytes: bytesTo(operand, to.with(axis, placement)) }))
}

function bytesTo({ mesh, shape, placed, dtype }: DistributedTensor, to: readonly Placement[]) {
  return redistributionBytes(mesh, shape, placed, to, bytesPerElement(dtype))
}

function misfit(
  operation: Operation,
  given: readonly DistributedTensor[],
  moves: readonly Move[],
): PlacementError {
  const operands = given.map((operand, i) => `${operation.operands[i]} is ${operand}`).join(', ')
  const bytes = moves.reduce((sum, move) => sum + move.bytes, 0)
  const calls = moves.map(({ call }) => call)
  const advice =
    calls.length === 0
      ? 'no placement of these operands fits'
      : `call ${calls.join(' and ')} first: moves ${bytesText(bytes)} a device`
  return new PlacementError(`${operation.name}: ${operands}: ${advice}`, { calls, bytes })
}

function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes / 1024
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${value.toFixed(1)} ${units[unit]}`
}
