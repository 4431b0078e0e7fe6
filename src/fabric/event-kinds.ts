// Names of the numbers in event records. A copy of fabric/include/fabric/event_kinds.def by
// position; test/host/fabric/tables.test.ts compares the two. Append only: snapshots on disk carry the
// numbers. Pure.
import { operators } from '../native/operators.js'

/** Event kinds by number. */
export const eventKinds = [
  'operator',
  'copy',
  'event_record',
  'event_wait',
  'allocate',
  'free',
  'collective_arrive',
  'collective_launch',
  'collective_done',
  'peer_enable',
  'graph',
  'plugin',
  'error',
  'collective_combine',
  'redistribute',
  'step',
] as const

/** Kind of one event. */
export type EventKind = (typeof eventKinds)[number]

/**
 * What an event of kind operator names, by the upper half of its detail: "" and names that begin
 * with a dot come behind the operator's. A copy of native/dispatch/work_kinds.def.
 */
export const nativeWork = [
  '',
  '.backward',
  'gradient.start',
  'gradient.sum',
  'gradient.accumulate',
  'reducer.fill',
  'reducer.copy',
  'graph.words',
] as const

/** Collective kinds by number. */
export const collectiveKinds = [
  'all_reduce',
  'broadcast',
  'all_gather',
  'reduce_scatter',
  'reduce',
  'barrier',
  'replay',
  'gather',
  'scatter',
  'all_to_all',
  'send_receive',
  'all_to_all_uneven',
  'coalesced',
] as const

/** Stream purposes by number. */
export const streamPurposes = ['compute', 'comm', 'copy_in', 'copy_out', 'user'] as const

/** Names of operators that plugins brought, by id. */
export type AddedOperators = ReadonlyMap<number, string>

/**
 * What an event's `detail` means: an operator, `<operator>.backward` or other native work; the
 * operator for which operands were redistributed; the
 * collective of collective events and of copies and plugin events that belong to one (the group's id
 * lies above its 8 bits); else undefined.
 */
export function detailName(
  kind: EventKind,
  detail: number,
  added?: AddedOperators,
): string | undefined {
  if (kind === 'operator') return workName(detail >>> 16, detail & 0xffff, added)
  if (kind === 'redistribute') return operatorName(detail, added)
  const ofCall = detail !== 0 && (kind === 'copy' || kind === 'plugin')
  if (ofCall || kind.startsWith('collective')) return collectiveKinds[detail & 0xff]
  return undefined
}

/** A built-in operator's name, or a plugin's: 'ns.op'. */
export const operatorName = (op: number, added?: AddedOperators): string | undefined =>
  added?.get(op) ?? operators[op]?.[0]

function workName(work: number, op: number, added?: AddedOperators): string | undefined {
  const name = nativeWork[work]
  if (name === undefined || (name !== '' && !name.startsWith('.'))) return name
  const operator = operatorName(op, added)
  if (name === '') return operator
  return (operator ?? 'custom') + name // a node that no operator made
}
