// Steps that a program marked (fabric.markStep, a training run): for each, by device, its time, communication
// and the part that no computation covered, and how late the device came to collectives. The summary shows
// them. Pure.
//
// A step of a device goes from its mark to the next one there. Work belongs to the step in whose time it ran:
// a copy that reaches into the next step counts there with that part. An arrival belongs to the step after
// whose mark it stands in the log. A step that no mark ends is left out.
import type { SnapshotEvent } from '../fabric/event-record.js'
import { arrivalsOf } from './arrivals.js'
import { communicationOf } from './communication.js'
import type { Lane, Span } from './timeline.js'

export interface DeviceStep {
  device: string
  ns: number
  /** Only with device times, as what follows. */
  communicationNs: number | undefined
  exposedNs: number | undefined
  calls: number
  /** After the first rank, on average over the step's calls. */
  meanLateNs: number
}

export interface StepSummary {
  step: number
  devices: DeviceStep[]
}

interface Window {
  step: number
  device: number
  startNs: number
  endNs: number
  from: number
  to: number
  timed: boolean
  spans: Span[]
  calls: number
  lateNs: number
}

/** Whole steps, in the order in which they began. */
export function stepsOf(
  events: readonly SnapshotEvent[],
  lanes: readonly Lane[],
  nameOf: (device: number) => string,
): StepSummary[] {
  const byDevice = windowsOf(events)
  for (const lane of lanes) {
    const windows = byDevice.get(lane.device) ?? []
    for (const span of lane.spans) share(span, windows)
  }
  for (const { device, sequence, lateNs } of arrivalsOf(events)) {
    const window = latest(byDevice.get(device) ?? [], (w) => w.from <= sequence)
    if (window === undefined || sequence >= window.to) continue
    window.calls++
    window.lateNs += lateNs
  }
  const steps = new Map<number, StepSummary>()
  const all = [...byDevice.values()].flat().sort((a, b) => a.from - b.from)
  for (const { step, device, startNs, endNs, timed, spans, calls, lateNs } of all) {
    const found = steps.get(step) ?? { step, devices: [] }
    const { ns, exposedNs } = communicationOf(spans)
    found.devices.push({
      device: nameOf(device),
      ns: endNs - startNs,
      communicationNs: timed ? ns : undefined,
      exposedNs: timed ? exposedNs : undefined,
      calls,
      meanLateNs: calls === 0 ? 0 : lateNs / calls,
    })
    steps.set(step, found)
  }
  return [...steps.values()]
}

function windowsOf(events: readonly SnapshotEvent[]): Map<number, Window[]> {
  const byDevice = new Map<number, Window[]>()
  const open = new Map<number, SnapshotEvent>()
  for (const event of events) {
    if (event.kind !== 'step') continue
    const { device } = event
    const begun = open.get(device)
    open.set(device, event)
    if (begun === undefined || begun.id === 0) continue
    const timed = begun.deviceNs > 0 && event.deviceNs > 0
    const at = (mark: SnapshotEvent) => (timed ? mark.deviceNs : mark.hostNs)
    const list = byDevice.get(device) ?? []
    list.push({
      ...{ step: begun.id, device, timed, spans: [], calls: 0, lateNs: 0 },
      ...{ startNs: at(begun), endNs: at(event), from: begun.sequence, to: event.sequence },
    })
    byDevice.set(device, list)
  }
  return byDevice
}

/** Gives each window its part of the span. */
function share(span: Span, windows: readonly Window[]): void {
  if (span.endNs <= span.startNs) return
  let i = search(windows, (window) => window.startNs <= span.startNs)
  if (i < 0) i = 0
  for (; i < windows.length && windows[i]!.startNs < span.endNs; i++) {
    const window = windows[i]!
    const startNs = Math.max(span.startNs, window.startNs)
    const endNs = Math.min(span.endNs, window.endNs)
    if (endNs > startNs) window.spans.push({ event: span.event, startNs, endNs })
  }
}

function latest(windows: readonly Window[], begun: (window: Window) => boolean) {
  return windows[search(windows, begun)]
}

/** The last of the ordered windows for which `begun` holds, -1: none. */
function search(windows: readonly Window[], begun: (window: Window) => boolean): number {
  let [low, high] = [0, windows.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (begun(windows[middle]!)) low = middle + 1
    else high = middle
  }
  return low - 1
}
