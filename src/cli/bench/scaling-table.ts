// Figures and table of `weft bench scaling`: efficiency over one device, and the fastest mode of another framework
// beside them. Pure.
import { UsageError } from '../../native/errors.js'

export type Scaling = 'weak' | 'strong'

/** How one task trained on so many devices. */
export interface ScalingRow {
  work: string
  /** weak: the batch a device is always the same; strong: the batch of all devices is. */
  scaling: Scaling
  devices: number
  mode: 'eager' | 'graph'
  /** As the trainer takes it; missing: as it stands without. */
  precision?: string
  /** Samples a step on each device. */
  batchSize: number
  /** Milliseconds a step, data, optimizer and the trainer's own work included: the median over chunks of steps. */
  ms: number
  /** Samples a second over all devices. */
  perSecond: number
  /** Communication a step that no computation covered, the longest over devices; eager steps alone have it. */
  exposedMs?: number
  /** Do all replicas hold the same bits at the end? */
  equal: boolean
  error?: string
}

/** A line of bench/torch/training.py. */
export interface PeerRow {
  work: string
  mode: string
  gpus: number
  ms: number
  scaling?: Scaling
  /** 'f32' holds for TF32 too: another setting decides there. Missing: of any. */
  precision?: string
}

/** A row beside one device and beside the peer's best. */
export interface ScalingFigures extends ScalingRow {
  /** One device's time over this one's, times what a device had to do in each: 1 is perfect. */
  efficiency?: number
  peer?: { mode: string; ms: number; efficiency?: number }
  /** weft's time over the peer's: below 1 weft is faster. */
  ratio?: number
}

/** Lines of JSON; UsageError naming the first that is none. Lines with an `error` are passed by. */
export function parsePeer(text: string): PeerRow[] {
  return text.split('\n').flatMap((line, i): PeerRow[] => {
    if (!line.startsWith('{')) return []
    let row: Partial<PeerRow> & { error?: string }
    try {
      row = JSON.parse(line)
    } catch {
      throw new UsageError(`--beside: line ${i + 1} is not JSON: ${line.slice(0, 60)}`)
    }
    if (row.error !== undefined) return []
    const { work, mode, gpus, ms, scaling, precision } = row
    if (typeof work !== 'string' || typeof mode !== 'string' || !(gpus! > 0) || !(ms! > 0)) {
      throw new UsageError(`--beside: line ${i + 1} lacks work, mode, gpus or ms`)
    }
    return [
      {
        work,
        mode,
        gpus: gpus!,
        ms: ms!,
        ...(scaling && { scaling }),
        ...(precision && { precision }),
      },
    ]
  })
}

/** The same work of one device: in weak scaling a device does as much, in strong scaling its share. */
const efficiencyOf = (scaling: Scaling, devices: number, oneMs: number, ms: number) =>
  oneMs / ms / (scaling === 'weak' ? 1 : devices)

const fastest = (rows: readonly PeerRow[]) =>
  rows.reduce<PeerRow | undefined>(
    (best, row) => (best && best.ms <= row.ms ? best : row),
    undefined,
  )

function peerOf(row: ScalingRow, peer: readonly PeerRow[]): ScalingFigures['peer'] {
  const product = row.precision === 'tf32' ? 'f32' : row.precision
  const own = peer.filter(
    ({ work, precision = product }) =>
      work === row.work && (product === undefined || precision === product),
  )
  const on = (gpus: number) =>
    fastest(
      own.filter(
        (each) => each.gpus === gpus && (gpus === 1 || (each.scaling ?? 'weak') === row.scaling),
      ),
    )
  const [found, one] = [on(row.devices), on(1)]
  if (found === undefined) return undefined
  const { mode, ms } = found
  return {
    mode,
    ms,
    ...(one && { efficiency: efficiencyOf(row.scaling, row.devices, one.ms, ms) }),
  }
}

/** Efficiencies and ratios, where there is a row of one device and one of the peer. */
export function scalingFigures(
  rows: readonly ScalingRow[],
  peer: readonly PeerRow[],
): ScalingFigures[] {
  return rows.map((row) => {
    if (row.error !== undefined) return row
    const one = rows.find(
      (each) => each.devices === 1 && each.work === row.work && each.mode === row.mode,
    )
    const other = peerOf(row, peer)
    return {
      ...row,
      ...(one?.error === undefined &&
        one && { efficiency: efficiencyOf(row.scaling, row.devices, one.ms, row.ms) }),
      ...(other && { peer: other, ratio: row.ms / other.ms }),
    }
  })
}

const fixed = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? '-'

/** A head and a line a row. */
export function scalingLines(rows: readonly ScalingFigures[]): string[] {
  const withPeer = rows.some((row) => row.peer !== undefined)
  const head = ['work', 'scaling', 'devices', 'batch', 'mode', 'ms', 'a second', 'efficiency']
  head.push(
    'exposed ms',
    'equal',
    ...(withPeer ? ['peer', 'its ms', 'efficiency', 'weft/peer'] : []),
  )
  const cells = rows.map((row) => {
    const start = [row.work, row.scaling, String(row.devices), String(row.batchSize), row.mode]
    if (row.error !== undefined) return start
    return [
      ...start,
      fixed(row.ms, 4),
      fixed(row.perSecond, 0),
      fixed(row.efficiency, 3),
      fixed(row.exposedMs, 4),
      row.equal ? 'yes' : 'NO',
      ...(withPeer
        ? [
            row.peer?.mode ?? '-',
            fixed(row.peer?.ms, 4),
            fixed(row.peer?.efficiency, 3),
            fixed(row.ratio, 3),
          ]
        : []),
    ]
  })
  const widths = head.map((name, i) =>
    Math.max(name.length, ...cells.map((row) => row[i]?.length ?? 0)),
  )
  return [head, ...cells].map((line, i) => {
    const text = line.map((cell, c) =>
      c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!),
    )
    const error = i === 0 ? undefined : rows[i - 1]!.error
    return error === undefined ? text.join('  ') : `${text.join('  ')}  ${error}`
  })
}
